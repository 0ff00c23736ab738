"""IoU agrees with Cityscapes' own evaluation script, run on PNG files."""

import importlib

import cv2
import numpy as np
import pytest

from emu_core.labels import CITYSCAPES
from emu_core.metrics import Confusion

official = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")


def boxes(rng, shape, ids, count=60):
    """Overlapping boxes of ids."""
    image = np.full(shape, ids[0], np.uint8)
    for value in [*ids, *rng.choice(ids, count)]:
        y, x = rng.integers(0, shape[0] - 8), rng.integers(0, shape[1] - 8)
        image[y : y + rng.integers(4, 16), x : x + rng.integers(4, 24)] = value
    return image


@pytest.mark.parametrize("unseen", [(), ("train", "rider")])
def test_iou_agrees_with_the_official_evaluation(tmp_path, monkeypatch, capsys, unseen):
    """A class that is only predicted has an IoU of 0 in both."""
    rng = np.random.default_rng(0)
    named = list(CITYSCAPES.dataset_ids)
    there = [i for i, n in zip(named, CITYSCAPES.names, strict=True) if n not in unseen]
    confusion = Confusion(len(named))
    guesses, truths = [], []
    for i in range(4):
        # The truth has ignored ids (0, 1, 4, 6, 9); the guess rarely has one, too.
        truth = boxes(rng, (64, 128), [0, 1, 4, 6, 9, *there])
        guess = np.where(rng.random(truth.shape) < 0.6, truth, boxes(rng, truth.shape, named))
        guess = np.where(rng.random(truth.shape) < 0.98, guess, 4).astype(np.uint8)
        for folder, paths, ids in (("guess", guesses, guess), ("truth", truths, truth)):
            path = tmp_path / folder / f"aachen_{i:06d}_000019_gtFine_labelIds.png"
            path.parent.mkdir(exist_ok=True)
            assert cv2.imwrite(str(path), ids)
            paths.append(str(path))
        confusion.update(CITYSCAPES.to_train_ids(guess), CITYSCAPES.to_train_ids(truth))
    for name, value in (("quiet", True), ("JSONOutput", False), ("evalInstLevelScore", False)):
        monkeypatch.setattr(official.args, name, value)
    result = official.evaluateImgLists(guesses, truths, official.args)
    ours = confusion.compute()
    assert (~ours["present"]).sum() == len(unseen)
    for name, value in zip(CITYSCAPES.names, ours["iou"], strict=True):
        assert value == pytest.approx(result["classScores"][name], abs=1e-12), name
    assert ours["miou_official"] == pytest.approx(result["averageScoreClasses"], abs=1e-12)
    for name in unseen:
        assert ours["iou"][CITYSCAPES.names.index(name)] == 0
    assert 0.2 < ours["miou"] < 0.9
