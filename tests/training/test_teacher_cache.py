"""A teacher predicts once, and its predictions are read back unchanged."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample
from emu_core.methods.prediction import Prediction
from emu_core.training.loader import training_loader
from emu_core.training.teacher_cache import TeacherCache

SIZE = (32, 64)
INNER = slice(8, -8)  # columns; at the border, a quarter-size map is extrapolated


def sample(index):
    image = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), np.uint8)
    depth = np.full(SIZE, 10.0, np.float32)
    return Sample(str(index), image, np.zeros(SIZE, np.uint8), depth, (100.0, 100.0))


SAMPLES = [sample(index) for index in range(4)]
AUGMENTATION = Augmentation(*SIZE, jitter=(0.2, 0.2, 0.2, 0.4))


class Teacher:
    """Predictions are smooth functions of the mean colour; counts the images."""

    def __init__(self, depth=True, classes=True):
        self.depth, self.classes, self.images = depth, classes, 0

    def __call__(self, images):
        self.images += len(images)
        level = images.float().mean((1, 2, 3)).view(-1, 1, 1, 1) / 255  # (N,1,1,1)
        ramp = torch.linspace(0, 1, SIZE[1]).expand(len(images), 1, *SIZE)
        logits = torch.cat([level * ramp, ramp, -3 * ramp], dim=1)
        probabilities = logits.softmax(1) if self.classes else None
        if not self.depth:
            return Prediction(probabilities)
        # Depends on the size of the batch, as the last bits of a network's outputs do.
        mean = 5 + 60 * ramp * level + len(images)
        return Prediction(probabilities, mean, (12 * ramp - 6).exp())


def batches(steps=1, seed=0, augmentation=AUGMENTATION):
    return list(training_loader(SAMPLES, augmentation, 2, steps, seed, variants=2))


def predict(folder, batch, teacher=None, teacher_id="it"):
    return TeacherCache(folder, teacher_id).predict(teacher or Teacher(), batch)


def assert_same(first, second):
    torch.testing.assert_close(vars(first), vars(second), rtol=0, atol=0)


def test_each_variant_of_each_frame_is_predicted_once_for_all_students(tmp_path):
    teacher, folder = Teacher(), tmp_path / "new" / "cache"
    first = [predict(folder, batch, teacher) for batch in batches(8)]  # 4 epochs of 2 steps
    assert teacher.images == 8
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{variant:03d}_{i:06d}.npz" for variant in range(2) for i in range(4)]
    for before, batch in zip(first, batches(8), strict=True):
        assert_same(predict(folder, batch, teacher), before)
    for batch in batches(4, seed=1):
        cached, exact = predict(folder, batch, teacher), Teacher()(batch["image"])
        got, wanted = cached.depth_mean[..., INNER], exact.depth_mean[..., INNER]
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-2)
    assert teacher.images == 8


def with_edges(size, block=1, certainty=1.0):
    """A network's prediction of two images, from H/4, with edges at every `block`-th pixel."""
    shape = (2, 1, size[0] // 4, size[1] // 4)
    which = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    which = which[..., ::block, ::block].repeat_interleave(block, 2).repeat_interleave(block, 3)
    logits = torch.cat([12 * which, 6 - 9 * which, torch.zeros(shape)], dim=1) * certainty
    depth = torch.cat([(which > 0.5) * 40 + 5.0, which * 6 - 3], dim=1)
    logits, depth = (F.interpolate(x, size=size, mode="bilinear") for x in (logits, depth))
    return Prediction(logits.softmax(1), depth[:, :1], depth[:, 1:].exp())


def cached(folder, prediction):
    return predict(folder, batches()[0], lambda _: prediction)


def divergence(teacher, kept):
    return F.kl_div(kept.log(), teacher, reduction="none").sum(1).mean().item()


def test_the_prediction_of_a_network_is_kept_within_half_precision_also_at_edges(tmp_path):
    exact = with_edges(SIZE)
    kept = cached(tmp_path, exact)
    assert divergence(exact.probabilities, kept.probabilities) < 1e-4
    torch.testing.assert_close(kept.probabilities.sum(1), torch.ones(2, *SIZE))
    error = (kept.depth_mean - exact.depth_mean).abs()
    assert error.mean() < 0.1 and error.max() < 2  # of edges that are 40 m high
    ratio = kept.depth_variance / exact.depth_variance
    assert ratio.log().abs().mean() < 0.02
    assert kept.depth_epistemic is None


def test_the_prediction_of_an_ensemble_nearly_keeps_its_edges(tmp_path):
    mean = sum(with_edges(SIZE, 4, certainty).probabilities for certainty in (0.6, 1.0, 1.4)) / 3
    kept = cached(tmp_path, Prediction(mean)).probabilities
    averaged = F.interpolate(F.avg_pool2d(mean, 4), size=SIZE, mode="bilinear")
    lost, lost_by_averaging = divergence(mean, kept), divergence(mean, averaged)
    assert lost < 1e-3 and lost < lost_by_averaging / 20
    entropies = [torch.special.entr(p).sum(1).mean().item() for p in (kept, mean)]
    assert entropies[0] == pytest.approx(entropies[1], rel=0.03)


def test_depth_is_not_negative_and_zero_probabilities_are_kept(tmp_path):
    mean = (torch.rand(2, 1, *SIZE) > 0.5) * 50.0
    certain = torch.zeros(2, 3, *SIZE)
    certain[:, 1] = 1
    kept = cached(tmp_path, Prediction(certain, mean, mean + 1))
    assert kept.depth_mean.min() >= 0
    torch.testing.assert_close(kept.probabilities, certain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("damage", ["half", "empty", "leftover", "missing"])
def test_a_damaged_file_is_written_again_from_the_complete_batch(tmp_path, damage):
    batch, *_ = batches()
    first = predict(tmp_path, batch)
    file = sorted(tmp_path.iterdir())[0]
    content = file.read_bytes()
    if damage == "leftover":
        file.rename(tmp_path / f".{file.name}.1234")
    elif damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    teacher = Teacher()
    assert_same(predict(tmp_path, batch, teacher), first)
    assert teacher.images == 2  # as in a run that was not killed


def test_predictions_of_other_images_or_teachers_are_not_used(tmp_path):
    predict(tmp_path, batches()[0])
    jitter = Augmentation(*SIZE, jitter=(0.4, 0.4, 0.4, 0.4))
    for teacher_id, other in (("it", batches(augmentation=jitter)), ("other", batches())):
        teacher = Teacher()
        predict(tmp_path, other[0], teacher, teacher_id)
        assert teacher.images == 2
    with pytest.raises(ValueError, match="Expected `teacher` to be the digest"):
        TeacherCache(tmp_path, "")


def test_teachers_of_one_task_are_cached(tmp_path):
    classes = predict(tmp_path / "a", batches()[0], Teacher(depth=False))
    assert classes.depth_mean is None and classes.probabilities.shape == (2, 3, *SIZE)
    depth = predict(tmp_path / "b", batches()[0], Teacher(classes=False))
    assert depth.probabilities is None and depth.depth_variance.shape == (2, 1, *SIZE)
