"""Mixtures of data sets: their samples, batches with shares, and options."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu_core.data.augment import Augmentation
from emu_core.data.config import Data, Source, unique
from emu_core.data.folder import FolderDataSet
from emu_core.data.mixture import Mixture
from emu_core.data.sample import DataError
from emu_core.labels import CITYSCAPES, IGNORE
from emu_core.options import check_options
from emu_core.training import loader as loading
from emu_core.training.config import Run, TrainingConfig, deciding_settings
from emu_core.training.loader import MixedStepBatches, StepBatches, training_loader


def opened(*roots):
    return [FolderDataSet(root, "train") for root in roots]


# Samples


def test_labels_are_codes_of_one_table_and_frames_know_their_data_set(streets):
    ground, wheels = ["road", "sidewalk"], ["bicycle", "motorcycle"]
    parts = opened(
        streets("single", 1, "sky", depth=True),
        streets("wide", 2, ground),
        streets("other", 1, wheels),
        streets("same", 1, ground[::-1]),
        streets("out", 1, "ignore"),
    )
    mixture = Mixture(parts)
    assert mixture.sets == ((0, 1), (17, 18)) and mixture.classes == CITYSCAPES
    codes = [int(sample.labels[0, 0]) for sample in mixture]
    assert codes == [10, 19, 19, 20, 19, IGNORE]
    assert [sample.part for sample in mixture] == [0, 1, 1, 2, 3, 4]
    assert mixture.locate(2) == (1, 1) and len(mixture) == 6
    assert mixture.with_labels() == list(range(6)) and mixture.with_depth() == [0]
    assert len(mixture.cameras()) == 1 and mixture.max_depth == 80
    for index in (-1, 6):
        with pytest.raises(IndexError):
            mixture[index]


def test_data_sets_of_other_classes_or_too_many_sets_are_refused(streets, monkeypatch):
    one, two = opened(streets("one"), streets("two", maps_to="nyuv2", mapping="wall"))
    with pytest.raises(DataError, match=r"one has .* cityscapes, but two .* nyuv2: set data\.cl"):
        Mixture([one, two])
    sets = [(i, j) for i in range(19) for j in range(i)]
    monkeypatch.setattr("emu_core.data.mixture.wide_sets", lambda _: sets * 2)
    with pytest.raises(DataError, match=r"342 different sets .* room for 255 in all"):
        Mixture([one])


# Batches


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, data=st.data(), batch=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_shares_are_exact_and_every_frame_occurs_once_in_an_epoch(lengths, data, batch, seed):
    count = len(lengths)
    shares = data.draw(st.lists(st.floats(0.1, 9), min_size=count, max_size=count))
    batches = list(MixedStepBatches(lengths, shares, batch, 40, seed))
    assert [len(each) for each in batches] == [batch] * 40
    starts = np.cumsum([0, *lengths])
    for part, share in enumerate(np.array(shares) / sum(shares)):
        inside = range(starts[part], starts[part + 1])
        counts = np.array([sum(index in inside for _, index in each) for each in batches])
        exact = share * batch
        assert counts.min() >= np.floor(exact - 1e-9) and counts.max() <= np.ceil(exact + 1e-9)
        taken = [(epoch, index) for each in batches for epoch, index in each if index in inside]
        per_epoch = Counter(epoch for epoch, _ in taken)
        assert len(set(taken)) == len(taken)  # no frame twice in an epoch
        assert list(per_epoch) == list(range(len(per_epoch)))
        assert all(per_epoch[k] == lengths[part] for k in list(per_epoch)[:-1])


def test_the_mean_number_of_a_data_set_in_a_batch_is_its_share():
    shares, steps = np.array([2.0, 1.0, 0.3]), 4000
    batches = MixedStepBatches([50, 7, 3], shares, 4, steps, seed=1)
    counts = np.zeros(3)
    for batch in batches:
        counts += np.histogram([index for _, index in batch], [0, 50, 57, 60])[0]
    # A share's number in a batch has a deviation of at most 1/2.
    np.testing.assert_allclose(counts / steps, 4 * shares / 3.3, atol=4 * 0.5 / np.sqrt(steps))


def test_batches_depend_on_seed_and_step_alone_and_continue_at_any_step():
    def make(seed=3, steps=30, start=0):
        batches = MixedStepBatches([5, 11], [1, 2], 4, steps, seed)
        batches.start = start
        return list(batches)

    every = make()
    assert make() == every and make(steps=50)[:30] == every
    assert make(start=13) == every[13:]
    assert len({str(make(seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_every_batch(processes, monkeypatch):
    def make():
        return list(MixedStepBatches([5, 11, 2], [1, 2, 1], 5, 20, 0))

    joint, ranks = make(), []
    for rank in range(processes):
        monkeypatch.setattr(loading, "_rank_and_processes", lambda r=rank: (r, processes))
        ranks.append(make())
    for complete, *own in zip(joint, *ranks, strict=True):
        assert sorted(pair for each in own for pair in each) == sorted(complete)


def test_a_mixture_with_shares_is_loaded_and_resumed_bit_for_bit(streets):
    parts = opened(streets("a", 3), streets("b", 2, ["road", "car"]))
    augmentation = Augmentation(8, 16, scale=(0.8, 1.5), flip=True, jitter=(0.2,) * 4)

    def load(shares=(1, 3)):
        return training_loader(Mixture(parts, shares), augmentation, 4, 6, seed=2)

    def same(one, other):
        return all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)

    every, resumed = list(load()), load()
    assert {tuple(batch["part"].tolist()) for batch in every} == {(0, 1, 1, 1)}
    resumed.load_state_dict({"taken": 4})
    assert all(same(a, b) for a, b in zip(resumed, every[4:], strict=True))
    assert type(load(None).batch_sampler) is StepBatches  # each frame equally often
    with pytest.raises(DataError, match="5 training images are too few for a batch of 6"):
        training_loader(Mixture(parts), augmentation, 6, 1, 0)


# Options


def source(root, **options):
    return Source("folder", root, **options)


def test_a_mixture_opens_its_data_sets_with_their_own_limits_and_shares(streets):
    val = {"splits": {"train": ["[0-3]"], "val": ["4"]}}
    a = streets("a", 5, "road", **val)
    b = streets("b", 5, "sky", depth=True, **val)
    c = streets("c", 3, labels=False)
    parts = (source(a, share=2, limit=2), source(b, share=1, max_depth=10.0))
    data = Data(mixture=(*parts, source(c, share=1, unlabelled=True)))
    mixture = data.open_training()
    assert [len(part) for part in mixture.parts] == [2, 4] and mixture.shares == [2, 1]
    assert [part.max_depth for part in mixture.parts] == [80, 10]
    everything = data.open_training(unlabelled=True)
    assert [part.labelled for part in everything.parts] == [True, True, False]
    assert everything.shares == [2, 1, 1] and not everything[8].labelled
    assert [part.title for part in data.open_validation()] == ["a", "b"]
    assert set(data.open_scored()) == {"a-val", "b-val"}
    assert data.roots == f"{a}, {b}, {c}" and data.split_names.validation == "val"
    same = Data(mixture=(source(a), source(a)))
    assert same.open_training().shares is None and set(same.open_scored()) == {
        "a-val-1",
        "a-val-2",
    }
    assert unique(["x", "y", "x"]) == ["x-1", "y", "x-2"]


def test_one_data_set_is_a_mixture_of_one(streets):
    data = Data("folder", streets("a", 4, splits={"train": ["[0-2]"], "val": ["3"]}), limit=2)
    assert data.sources == (Source("folder", data.root, limit=2),)
    (part,) = data.open_training().parts
    assert len(part) == 2 and len(data.open("val")) == 1
    assert set(data.open_scored()) == {"val"}
    (rest,) = data.open_training(rest=True, labelled=False).parts
    assert len(rest) == 1 and not rest[0].labelled


def test_a_class_table_and_a_mapping_of_the_training_come_before_those_of_the_data(
    streets, tmp_path
):
    (tmp_path / "two.yaml").write_text("classes: [flat, {name: up, aliases: [own]}]")
    (tmp_path / "map.yaml").write_text("own: [up, flat]")
    root, table = streets("a"), str(tmp_path / "two.yaml")
    by_alias = Data("folder", root, classes=table).open_training()
    assert by_alias.classes.names == ("flat", "up") and by_alias[0].labels[0, 0] == 1
    mapped = Data("folder", root, classes=table, mapping=tmp_path / "map.yaml").open_training()
    assert mapped[0].labels[0, 0] == 2 and mapped.sets == ((0, 1),)
    (tmp_path / "map.yaml").write_text("own: car")
    assert (
        Data("folder", root, mapping=tmp_path / "map.yaml").open_training()[0].labels[0, 0] == 13
    )
    without = Data(mixture=(source(streets("c", labels=False)), source(root)))
    assert without.open_training().classes == CITYSCAPES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 3}, r"data\.limit has no effect beside data\.mixture"),
        ({"max_depth": 3.0}, r"data\.max_depth has no effect beside data\.mixture"),
        ({"sequences": 3}, r"data\.sequences has no effect beside data\.mixture"),
        ({"mapping": Path("x")}, r"data\.mapping has no effect beside data\.mixture"),
        (
            {"mixture": (Source(share=1), Source(root=Path("x")))},
            r"share, or none of them; got data/drives: 1, x: None",
        ),
        ({"mixture": (Source(unlabelled=True),)}, "unlabelled: no truth is left"),
    ],
)
def test_options_without_effect_and_mixtures_without_truth_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Data(**{"mixture": (Source(),), **options})


@pytest.mark.parametrize("share", [0, -1.0, float("nan")])
def test_shares_are_above_0(share):
    with pytest.raises(ValueError, match=r"mixture\.0\.share must be above 0, but it is"):
        check_options(Data(mixture=(Source(share=share),)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"No file .*map\.yaml"),
        ("[a]", r"map\.yaml: expected a mapping of keys to values, but got \['a'\]"),
        ("a: [", r"map\.yaml cannot be read as YAML"),
        ("raod: road", "own: The mapping names raod"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(content, message, streets, tmp_path):
    path = tmp_path / "map.yaml"
    if content is not None:
        path.write_text(content)
    data = Data("folder", streets("own"), mapping=path)
    with pytest.raises(DataError, match=message):
        data.open_training()


def test_missing_splits_are_refused(streets):
    a, b = streets("a"), streets("b", splits={"train": ["0"], "val": ["1"]})
    data = Data(mixture=(source(a), source(b)))
    assert [part.title for part in data.open_validation()] == ["b"]
    assert [part.title for part in data.open_calibration([b])] == ["b"]
    with pytest.raises(DataError, match=r"a: no frames for a calibration; .*frames in .*b\."):
        data.open_calibration([a])
    assert set(data.open_scored(["val", "train"])) == {"a-train", "b-train", "b-val"}
    with pytest.raises(DataError, match=r"No data set of .*a, .*b has the split night"):
        data.open_scored(["val", "night"])
    with pytest.raises(ValueError, match="A mixture has no split 'val' of its own"):
        data.open("val")
    alone = Data("folder", a)
    with pytest.raises(DataError, match=r"No data set has a split for validation: .*a\. Add one"):
        alone.open_validation()
    with pytest.raises(DataError, match="has the split test or val"):
        alone.open_scored()
    with pytest.raises(DataError, match="has no split val"):
        alone.open_scored(["val"])


def test_a_damaged_data_set_of_a_mixture_is_no_missing_split(streets, tmp_path):
    a = streets("a", splits={"train": ["0"], "val": ["1"]})
    gone = Data(mixture=(source(a), Source("drives", tmp_path / "gone")))
    with pytest.raises(DataError, match="gone"):
        gone.open_scored()


def test_the_data_sets_decide_the_weights_but_their_place_does_not():
    def deciding(**options):
        mixture = (Source("folder", Path("a")), Source("folder", **{"root": Path("b"), **options}))
        return deciding_settings(TrainingConfig(Data(mixture=mixture), run=Run()))

    assert deciding(root=Path("moved")) == deciding()
    assert deciding(share=None, limit=3) != deciding()
