"""A teacher's answers are asked for once, and read back as what they were."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample
from emu_core.methods.prediction import Prediction
from emu_core.training.loader import training_loader
from emu_core.training.teacher_cache import TeacherCache, fingerprint

SIZE = (32, 64)
INNER = slice(8, -8)  # columns; at the border a quarter-size map holds its last value


def sample(index):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    depth = np.full(SIZE, 10.0, np.float32)
    return Sample(str(index), image, np.zeros(SIZE, np.uint8), depth, (100.0, 100.0))


SAMPLES = [sample(index) for index in range(4)]
AUGMENTATION = Augmentation(*SIZE, jitter=(0.2, 0.2, 0.2, 0.4))


class Teacher:
    """Answers follow from the image's mean colour, smoothly; knows what it was asked."""

    def __init__(self, depth=True, classes=True):
        self.depth, self.classes, self.asked = depth, classes, []

    def __call__(self, images):
        level = images.float().mean((1, 2, 3)).view(-1, 1, 1, 1) / 255  # (N,1,1,1)
        self.asked += level.flatten().tolist()
        ramp = torch.linspace(0, 1, SIZE[1]).expand(len(images), 1, *SIZE)
        logits = torch.cat([level * ramp, ramp, -3 * ramp], dim=1)
        probabilities = logits.softmax(1) if self.classes else None
        if not self.depth:
            return Prediction(probabilities)
        return Prediction(probabilities, 5 + 60 * ramp * level, (12 * ramp - 6).exp())


def batches(variants=2, steps=8, seed=0, augmentation=AUGMENTATION):
    return list(training_loader(SAMPLES, augmentation, 2, steps, seed, variants=variants))


def same(first, second):
    for name in ("probabilities", "depth_mean", "depth_variance"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_each_variant_of_each_frame_is_asked_for_once(tmp_path):
    teacher, cache = Teacher(), TeacherCache(tmp_path / "new" / "cache", "it")
    for batch in batches(steps=8):  # 4 epochs of 2 steps
        cache.predict(teacher, batch)
    assert len(teacher.asked) == 8
    names = sorted(path.name for path in (tmp_path / "new" / "cache").iterdir())
    assert names == [f"{variant:03d}_{i:06d}.npz" for variant in range(2) for i in range(4)]


def test_what_is_read_is_what_was_given_when_it_was_written(tmp_path):
    first = [TeacherCache(tmp_path, "it").predict(Teacher(), batch) for batch in batches(steps=4)]
    silent = Teacher()
    for before, batch in zip(first, batches(steps=4), strict=True):
        same(TeacherCache(tmp_path, "it").predict(silent, batch), before)
    assert silent.asked == []


def test_another_student_finds_the_same_answers(tmp_path):
    cache = TeacherCache(tmp_path, "it")
    for batch in batches(steps=4, seed=0):
        cache.predict(Teacher(), batch)
    teacher = Teacher()
    for batch in batches(steps=4, seed=1):
        cached, asked = cache.predict(teacher, batch), Teacher()(batch["image"])
        got, wanted = cached.depth_mean[..., INNER], asked.depth_mean[..., INNER]
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-2)
    assert teacher.asked == []


def edged(size, block=1, certainty=1.0):
    """A network's answer to two images, from H/4, with edges at every `block`-th pixel there."""
    shape = (2, 1, size[0] // 4, size[1] // 4)
    which = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    which = which[..., ::block, ::block].repeat_interleave(block, 2).repeat_interleave(block, 3)
    logits = torch.cat([12 * which, 6 - 9 * which, torch.zeros(shape)], dim=1) * certainty
    depth = torch.cat([(which > 0.5) * 40 + 5.0, which * 6 - 3], dim=1)
    logits, depth = (F.interpolate(x, size=size, mode="bilinear") for x in (logits, depth))
    return Prediction(logits.softmax(1), depth[:, :1], depth[:, 1:].exp())


def answer(tmp_path, prediction):
    """What a cache makes of a prediction."""
    (batch,) = batches(steps=1)
    return TeacherCache(tmp_path, "it").predict(lambda _: prediction, batch)


def divergence(teacher, kept):
    return F.kl_div(kept.log(), teacher, reduction="none").sum(1).mean().item()


def test_a_networks_answer_comes_back_within_half_precision_edges_and_all(tmp_path):
    exact = edged(SIZE)
    cached = answer(tmp_path, exact)
    assert divergence(exact.probabilities, cached.probabilities) < 1e-4
    torch.testing.assert_close(cached.probabilities.sum(1), torch.ones(2, *SIZE))
    error = (cached.depth_mean - exact.depth_mean).abs()
    assert error.mean() < 0.1 and error.max() < 2  # of edges that are 40 m high
    ratio = cached.depth_variance / exact.depth_variance
    assert ratio.log().abs().mean() < 0.02
    assert cached.depth_epistemic is None


def test_an_ensembles_answer_keeps_its_edges_nearly(tmp_path):
    mean = sum(edged(SIZE, 4, certainty).probabilities for certainty in (0.6, 1.0, 1.4)) / 3
    cached = answer(tmp_path, Prediction(mean)).probabilities
    averaged = F.interpolate(F.avg_pool2d(mean, 4), size=SIZE, mode="bilinear")
    lost, lost_by_averaging = divergence(mean, cached), divergence(mean, averaged)
    assert lost < 1e-3 and lost < lost_by_averaging / 20
    entropies = [torch.special.entr(p).sum(1).mean().item() for p in (cached, mean)]
    assert entropies[0] == pytest.approx(entropies[1], rel=0.03)


def test_no_depth_is_negative_and_no_probability_is_lost(tmp_path):
    mean = (torch.rand(2, 1, *SIZE) > 0.5) * 50.0
    sure = torch.zeros(2, 3, *SIZE)
    sure[:, 1] = 1
    cached = answer(tmp_path, Prediction(sure, mean, mean + 1))
    assert cached.depth_mean.min() >= 0
    torch.testing.assert_close(cached.probabilities, sure, rtol=0, atol=1e-6)


@pytest.mark.parametrize("damage", ["half", "empty", "leftover"])
def test_a_killed_run_leaves_nothing_that_is_mistaken_for_an_answer(tmp_path, damage):
    batch, *_ = batches(steps=1)
    first = TeacherCache(tmp_path, "it").predict(Teacher(), batch)
    file = sorted(tmp_path.iterdir())[0]
    content = file.read_bytes()
    if damage == "leftover":
        file.rename(tmp_path / f".{file.name}.1234")
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    teacher = Teacher()
    same(TeacherCache(tmp_path, "it").predict(teacher, batch), first)
    assert len(teacher.asked) == 2  # all of the batch, as in a run that was not killed


def test_answers_that_were_half_written_are_completed_from_the_same_company(tmp_path):
    """An answer's last bits depend on the batch that it was computed in."""

    class Sociable(Teacher):
        def __call__(self, images):
            prediction = super().__call__(images)
            return Prediction(None, prediction.depth_mean + len(images), prediction.depth_variance)

    batch, *_ = batches(steps=1)
    first = TeacherCache(tmp_path, "it").predict(Sociable(), batch)
    sorted(tmp_path.iterdir())[0].unlink()
    same(TeacherCache(tmp_path, "it").predict(Sociable(), batch), first)


def test_answers_to_other_images_or_of_other_teachers_are_not_taken(tmp_path):
    batch, *_ = batches(steps=1)
    TeacherCache(tmp_path, "first").predict(Teacher(), batch)
    jitter = Augmentation(*SIZE, jitter=(0.4, 0.4, 0.4, 0.4))
    for cache, other in (
        (TeacherCache(tmp_path, "second"), batch),
        (TeacherCache(tmp_path, "second"), batches(steps=1, augmentation=jitter)[0]),
    ):
        teacher = Teacher()
        cache.predict(teacher, other)
        assert len(teacher.asked) == 2


def test_a_cache_wants_to_know_whose_answers_it_keeps(tmp_path):
    with pytest.raises(ValueError, match="Expected `teacher` to be the digest"):
        TeacherCache(tmp_path, "")


def test_teachers_of_one_task_are_kept_too(tmp_path):
    (batch,) = batches(steps=1)
    classes = TeacherCache(tmp_path / "a", "it").predict(Teacher(depth=False), batch)
    assert classes.depth_mean is None and classes.probabilities.shape == (2, 3, *SIZE)
    depth = TeacherCache(tmp_path / "b", "it").predict(Teacher(classes=False), batch)
    assert depth.probabilities is None and depth.depth_variance.shape == (2, 1, *SIZE)


def test_a_fingerprint_follows_the_contents_of_all_files(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(path.name.encode())
    first = fingerprint(paths)
    assert first == fingerprint(paths) != fingerprint(paths[:1])
    paths[1].write_bytes(b"c")
    assert fingerprint(paths) != first
