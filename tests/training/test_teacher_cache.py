"""A teacher's answers are asked for once, and read back as what they were."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample
from emu_core.prediction import Prediction
from emu_core.training.loader import training_loader
from emu_core.training.teacher_cache import TeacherCache, fingerprint

SIZE = (32, 64)
INNER = slice(4, -4)  # columns; at the border a quarter-size map holds its last value


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
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)


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


def test_smooth_maps_come_back_within_half_precision(tmp_path):
    (batch,) = batches(steps=1)
    cached = TeacherCache(tmp_path, "it").predict(Teacher(), batch)
    exact = Teacher()(batch["image"])
    for name, rtol, atol in (
        ("probabilities", 1e-3, 1e-3),
        ("depth_mean", 1e-3, 1e-2),
        ("depth_variance", 1e-2, 1e-8),
    ):
        got, wanted = (getattr(p, name)[..., INNER] for p in (cached, exact))
        torch.testing.assert_close(got, wanted, rtol=rtol, atol=atol)
    torch.testing.assert_close(cached.probabilities.sum(1), torch.ones(2, *SIZE))
    assert cached.depth_epistemic is None


def test_edges_are_averaged_over_the_pixels_of_a_quarter_size_cell(tmp_path):
    (batch,) = batches(steps=1)
    mean = torch.rand(2, 1, *SIZE) * 50
    cached = TeacherCache(tmp_path, "it").predict(
        lambda _: Prediction(None, mean, mean + 1), batch
    )
    cells = mean.reshape(2, 1, 8, 4, 16, 4).mean((3, 5)).half().float()
    expected = F.interpolate(cells, size=SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(cached.depth_mean, expected, rtol=1e-3, atol=1e-2)
    assert cached.probabilities is None


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
    assert len(teacher.asked) == 1


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
    with pytest.raises(ValueError, match="Expected `teacher` to tell"):
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
