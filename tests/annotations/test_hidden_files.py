"""Hidden files among a tool's files are no annotations."""

from emu_core.annotations.sources import without_hidden


def test_a_folder_with_hidden_files_is_read_without_them(tmp_path):
    source = tmp_path / ".cache" / "export"
    for name in ("a/1.xml", "b.json", "a/._1.xml", ".DS_Store", ".git/2.xml"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    shown = without_hidden(source)
    found = {path.relative_to(shown).as_posix() for path in shown.rglob("*") if path.is_file()}
    assert found == {"a/1.xml", "b.json"} and (shown / "a/1.xml").read_text() == "a/1.xml"
    assert shown.name == "export"
    assert without_hidden(shown) == shown  # nothing is hidden: no copy
    assert without_hidden(source / "b.json") == source / "b.json"
