import json
import os
import subprocess
import sys

import pytest

from whichtune.records.trial import MetricValue, Phase, SplitScores, TrialRecord


@pytest.fixture(scope="session")
def read_in_a_process():
    """Run a few lines beside the test, so that no library is imported into it; return what they leave in `found`."""

    def read(code, *arguments, **environment):
        told = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", f"import json, sys\n{code}\nprint('>>>' + json.dumps(found))"]
            + [str(argument) for argument in arguments],
            capture_output=True,
            check=False,
            text=True,
            env=dict(os.environ) | environment,
        )
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout.rpartition(">>>")[2])

    return read


@pytest.fixture
def record():
    """A finished trial's record with the parts that trackers look at."""
    scores = SplitScores(
        rows=4,
        predicted_labels=2,
        metrics=[
            MetricValue(name="accuracy", value=0.75, direction="higher", unit="share"),
            MetricValue(name="calibration_error", value=None, direction="lower", unit="share"),
        ],
    )
    return TrialRecord(
        id="abc",
        study="reviews",
        candidate="lora@bert",
        method="lora",
        kind="lora",
        backbone="bert",
        seed=7,
        status="finished",
        settings={"rank": 8, "targets": ["q", "v"]},
        training={"epochs": 3.0, "stopping": None},
        identity={},
        started_at="2026-01-01T00:00:00+00:00",
        fingerprints={"data": "d1"},
        phases={"step": Phase(seconds=1.5)},
        wall_seconds=2.0,
        scores={"test": scores},
    )
