import pytest

from whichtune.errors import SpecError
from whichtune.spec.read import read_study
from whichtune.spec.trackers import MlflowSpec, TensorBoardSpec, WandbSpec
from whichtune.spec.write import dump_study

FILE = """
name: reviews
data: {source: {kind: tweets}}
methods: {majority: {kind: majority}}
trackers:
  tb: {kind: tensorboard, folder: logs, every: 10}
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(FILE)
    return path


def test_trackers_are_chosen_by_name(study):
    spec = read_study(study, overrides=["trackers.wb.kind=wandb", "trackers.tb.every=3"])
    assert spec.trackers["tb"] == TensorBoardSpec(kind="tensorboard", folder=study.parent / "logs", every=3)
    assert spec.trackers["wb"] == WandbSpec(kind="wandb"), "offline unless asked otherwise"


def test_a_stored_study_gives_its_trackers_back(study, tmp_path):
    spec = read_study(study, overrides=["trackers.ml={kind: mlflow, tracking_uri: http://localhost:5000, tags: [a]}"])
    stored = tmp_path / "stored.yaml"
    stored.write_text(dump_study(spec, {}))
    assert read_study(stored) == spec
    assert spec.trackers["ml"] == MlflowSpec(kind="mlflow", tracking_uri="http://localhost:5000", tags=("a",))


@pytest.mark.parametrize(
    "override, told",
    [
        ("trackers.tb.kind=tensorbord", "tensorboard"),
        ("trackers.tb.folders=x", "folder"),
        ("trackers.tb.run_name='{seeds}'", r"'\{seeds\}' is nothing a run is named by; allowed: .*\{seed\}"),
        ("trackers.tb.run_name='{seed.real}'", "is nothing a run is named by"),
        ("trackers.tb.run_name='{seed'", "braces do not close"),
        ("trackers.tb.every=0", "1"),
    ],
)
def test_refused(override, told, study):
    with pytest.raises(SpecError, match=told):
        read_study(study, overrides=[override])
