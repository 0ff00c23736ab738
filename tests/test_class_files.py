"""Class tables from YAML files: names, colours, sky and aliases; mistakes end in one sentence."""

import subprocess
import sys

import pytest

from emu_core import registry
from emu_core.labels import CITYSCAPES, NYUV2, TABLES, ClassTable, ClassTableError, load_classes

ORCHARD = """
name: orchard
classes:
  - {name: Ground, color: [128, 64, 128], aliases: [road, gravel path]}
  - tree
  - {name: sky, aliases: }
sky: Sky
"""


@pytest.fixture
def write(tmp_path):
    """Function that writes a class table file and returns its path."""

    def call(text, name="mine.yaml", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return call


def test_a_file_has_names_colours_sky_and_aliases(write):
    expected = ClassTable(
        "orchard",
        names=("Ground", "tree", "sky"),
        dataset_ids=(0, 1, 2),
        palette=((128, 64, 128), (0, 128, 0), (128, 128, 0)),  # VOC's second and third colour
        sky=2,
        aliases=(("road", 0), ("gravel path", 0)),
    )
    path = write(ORCHARD)
    assert load_classes(path) == load_classes(str(path)) == expected


@pytest.mark.parametrize("end", ["", "sky:", "sky: null"])
def test_a_table_without_name_and_sky_has_the_name_of_its_file(write, end):
    table = load_classes(write(f"classes: [Wand, Tür]\n{end}", "räume.yml"))
    assert (table.dataset, table.names, table.sky) == ("räume", ("Wand", "Tür"), None)


def test_colours_stay_distinct_also_where_one_is_given_that_voc_has(write):
    # VOC's first colours are (128,0,0), (0,128,0), (128,128,0), (0,0,128).
    table = load_classes(write("classes: [a, b, {name: c, color: [128, 0, 0]}]"))
    assert table.palette == ((0, 0, 128), (0, 128, 0), (128, 0, 0))
    largest = load_classes(write(f"classes: {[f'c{i}' for i in range(254)]}"))
    assert len({*largest.palette, (0, 0, 0)}) == 255


def test_a_class_is_found_by_any_spelling_of_its_name_or_alias(write):
    table = load_classes(write(ORCHARD))
    for name, train_id in (("ground", 0), ("ROAD", 0), ("Gravel_Path", 0), ("gravel-path", 0)):
        assert table.index(name) == train_id
    assert CITYSCAPES.index("Traffic_Light") == CITYSCAPES.names.index("traffic light")
    with pytest.raises(
        ClassTableError, match="orchard has no class 'bush', only Ground, tree, sk"
    ):
        table.index("bush")


def test_a_table_is_found_by_its_name_also_that_of_a_plugin(tmp_path, monkeypatch):
    assert (load_classes("cityscapes"), load_classes("nyuv2")) == (CITYSCAPES, NYUV2)
    (tmp_path / "my_classes.py").write_text(
        "from emu_core.labels import TABLES, class_table\n"
        "TABLES.add('rooms', class_table({'name': 'rooms', 'classes': ['wall', 'floor']}, 'here'))"
    )
    monkeypatch.setattr(registry, "_loaded", set())
    monkeypatch.setattr(TABLES, "_values", dict(TABLES))
    monkeypatch.setenv("EMU_PLUGINS", str(tmp_path / "my_classes.py"))
    assert load_classes("rooms").names == ("wall", "floor")
    with pytest.raises(
        ClassTableError, match=r"'garden': expected cityscapes, nyuv2, rooms or the"
    ):
        load_classes("garden")


WRONG = {
    "classes: [a, b]\ncolour: 1": "unknown key 'colour'; expected name, classes, sky",
    "classes: [a, {name: b, colour: 1}]": "class 2: unknown key 'colour'; expected name, color, a",
    "name: 3\nclasses: [a, b]": "name: expected a name, but got 3; put it in quotes",
    "classes: [a, no]": "class 2: expected a name, but got False; put it in quotes",
    "classes: [a, ' _']": "class 2: expected a name, but got ' _'",
    "classes: [a, {color: [1, 2, 3]}]": "class 2: expected a name, but got None",
    "classes: [a, {name: b, color: [0, 1, 256]}]": "class 2 (b): expected `color` to be [red, gr",
    "classes: [a, {name: b, color: red}]": "from 0 to 255, but got 'red'",
    "classes: [a, {name: b, color: [true, 1, 2]}]": "but got [True, 1, 2]",
    "classes: [a, {name: b, aliases: c}]": "class 2 (b): expected `aliases` to be a list, but got",
    "classes: [a, {name: b, aliases: [1]}]": "class 2 (b): aliases: expected a name, but got 1",
    "classes: [traffic light, Traffic_Light]": "'traffic light' occurs twice as a name or alias",
    "classes: [a, {name: b, aliases: [A]}]": "'a' occurs twice as a name or alias",
    "classes: [a, Unknown]": "'unknown' cannot be a class: messages use it for uncertain pix",
    "classes: [{name: a, color: [1, 2, 3]}, {name: b, color: [1, 2, 3]}]": "the color [1, 2, 3]",
    "classes: [a]": "expected `classes` to be a list of 2 to 254 classes, but got 1 classes",
    f"classes: {['x'] * 255}": "a list of 2 to 254 classes, but got 255 classes",
    "classes: {0: a, 1: b}": "2 to 254 classes, but got {0: 'a', 1: 'b'}",
    "name: x": "2 to 254 classes, but got None",
    "classes: [a, b]\nsky: c": "sky: the class table mine has no class 'c', only a, b",
    "classes: [a, b]\nsky: 1": "sky: expected a name, but got 1; put it in quotes",
    "[a, b]": "is no class table: expected the keys name, classes, sky",
    "": "is no class table: expected the keys name, classes, sky",
    "classes: [a, b": "is not YAML: while parsing a flow sequence",
    "name: 2020-99-99": "is not YAML: month must be in 1..12",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=map(str, range(len(WRONG))))
def test_a_mistake_is_one_sentence_with_file_and_entry(write, text, message):
    path = write(text)
    with pytest.raises(ClassTableError) as error:
        load_classes(path)
    assert str(path) in str(error.value) and message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unreadable_file_is_one_sentence(write, tmp_path):
    with pytest.raises(ClassTableError, match=r"none\.yaml: No such file or directory"):
        load_classes(tmp_path / "none.yaml")
    with pytest.raises(ClassTableError, match=r"x\.yaml is not YAML: 'utf-8' codec can't decode"):
        load_classes(write("classes: [a, é]", "x.yaml", "latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ClassTableError, match=r"folder\.yaml: Is a directory"):
        load_classes(tmp_path / "folder.yaml")


def test_without_pyyaml_the_message_says_what_to_install(write):
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "from emu_core.labels import load_classes\n"
        "assert len(load_classes('nyuv2')) == 40\n"
        f"load_classes({str(write(ORCHARD))!r})"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("mine.yaml needs PyYAML: pip install PyYAML")
