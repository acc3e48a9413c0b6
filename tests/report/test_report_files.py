import csv
import io
import sys

import pytest
from typer.testing import CliRunner

from whichtune.cli import app, main
from whichtune.cli.report_files import read_choices
from whichtune.errors import InputError


@pytest.fixture
def call(maker):
    """A function that reports on a study of three candidates."""
    maker.fill()

    def report(*arguments):
        done = CliRunner().invoke(app, ["report", str(maker.folder.path), *map(str, arguments)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    return report


def test_a_page_and_pictures_at_once(call, tmp_path):
    files = {kind: tmp_path / f"out.{kind}" for kind in ("html", "svg", "png", "pdf")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    told = call(*options, "--figure", "ledger", "--choose", "what=mean")
    starts = {kind: path.read_bytes()[:4] for kind, path in files.items()}
    assert starts == {"html": b"<!DO", "svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert all(str(path) in told for path in files.values())
    assert "Pairs of candidates" not in told


def test_the_page_as_a_form_is_the_page_as_a_file(call, tmp_path):
    call("--html", tmp_path / "a.html")
    call("--format", "html", "--out", tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("form", ["json", "csv", "latex"])
def test_a_form_has_a_flag_of_its_own(call, form):
    assert call(f"--{form}") == call("--format", form)


def test_a_file_and_a_form_together(call, tmp_path):
    call("--html", tmp_path / "a.html", "--csv", "--out", tmp_path / "a.csv")
    held = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text(encoding="utf-8"))))
    assert {"majority", "lora@minilm", "full@minilm"} <= {row["candidate"] for row in held}
    assert (tmp_path / "a.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--figure", "qualiti", "--svg", "x.svg"], "quality"),
        (["--choose", "x", "--svg", "x.svg"], "NAME=VALUE"),
        (["--figure", "learning"], "--svg, --png or --pdf"),
        (["--json", "--csv"], "one form"),
        (["--html", "x.html", "--browse", "lora"], "lora@minilm"),
    ],
)
def test_what_makes_no_sense_is_refused(call, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told):
        call(*arguments)
    assert not list(tmp_path.glob("x.*"))


def test_a_page_shows_the_confusion_that_is_asked_for(call, tmp_path):
    call("--html", tmp_path / "a.html", "--confusion", "--candidate", "majority")
    assert "Most often confused by majority" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_choices_are_read_as_written():
    assert read_choices(("x=peak_bytes", "y=a=b")) == {"x": "peak_bytes", "y": "a=b"}


def test_examples_are_chosen_for_a_page_only(call):
    with pytest.raises(InputError, match="together with --html"):
        call("--browse", "majority")


def test_a_folder_in_the_place_of_a_file_is_named(maker, tmp_path, monkeypatch, capsys):
    maker.fill()
    monkeypatch.setattr(sys, "argv", ["whichtune", "report", str(maker.folder.path), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"whichtune: {tmp_path}: Is a directory" in capsys.readouterr().err


def test_a_dash_prints_the_page(call, tmp_path):
    call("--html", tmp_path / "a.html")
    assert call("--html", "-") == (tmp_path / "a.html").read_text(encoding="utf-8") + "\n"
    assert call("--html", "-", "--svg", tmp_path / "a.svg").endswith("</html>\n")
    assert call("--csv", "--out", "-") == call("--csv")


@pytest.mark.parametrize("option", ["--html", "--out", "--svg", "--png", "--pdf"])
def test_a_file_in_no_folder_is_refused_before_any_work(call, option, tmp_path):
    with pytest.raises(InputError, match=r"a file in a folder that is there; .* is not there; `mkdir -p"):
        call(option, tmp_path / "reprots" / "a")
    assert not (tmp_path / "reprots").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        call(option, tmp_path / "file" / "a")


def test_a_picture_is_not_printed(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--png: got '-'; allowed: a file"):
        call("--png", "-")
