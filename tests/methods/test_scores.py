"""Other scores than the entropy, and test-time augmentation, against NumPy and SciPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import SIZE, assert_same, make, make_images
from scipy.special import entr, logsumexp, softmax
from sklearn.metrics import roc_auc_score

from emu_core.methods.base import average
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.post_hoc.scores import OFFSET, MutualInformation
from emu_core.methods.post_hoc.test_time_augmentation import TestTimeAugmentation
from emu_core.methods.registry import LoadOptions, load_method
from emu_core.methods.single import SingleNetwork
from emu_core.metrics import StudyMetrics
from emu_core.networks import DepthFormer, normalize, save_model
from emu_core.networks.models import RawOutputs

REFERENCES = {
    "max_softmax": lambda z: 1 - softmax(z, axis=1).max(axis=1),
    "max_logit": lambda z: OFFSET - z.max(axis=1),
    "energy": lambda z: OFFSET - logsumexp(z, axis=1),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_score_ranks_what_the_single_network_predicts(name, tmp_path):
    network, images = make(), make_images()
    save_model(network, tmp_path / "network.safetensors")
    found = load_method(name, [tmp_path / "network.safetensors"])(images)
    plain = SingleNetwork(network)(images)
    torch.testing.assert_close(found.probabilities, plain.probabilities)
    torch.testing.assert_close(found.depth_mean, plain.depth_mean)
    with torch.no_grad():
        logits = F.interpolate(network(normalize(images)).logits, SIZE, mode="bilinear")
    expected = REFERENCES[name](logits.double().numpy())
    assert found.class_score.shape == (2, 1, *SIZE)
    np.testing.assert_allclose(found.class_score[:, 0].numpy(), expected, atol=3e-5)


def test_mutual_information_is_what_the_members_disagree_about(tmp_path):
    members, images = [make(seed=seed) for seed in range(3)], make_images()
    found = MutualInformation(DeepEnsemble(members))(images)
    each = np.stack([SingleNetwork(m)(images).probabilities.double().numpy() for m in members])
    expected = entr(each.mean(axis=0)).sum(axis=1) - entr(each).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(found.class_score[:, 0].numpy(), expected, atol=1e-6)
    assert expected.max() > 0.1
    torch.testing.assert_close(found.probabilities, DeepEnsemble(members)(images).probabilities)
    alike = MutualInformation(DeepEnsemble([members[0]]))(images)
    assert alike.class_score.abs().max() < 1e-6
    depth = MutualInformation(DeepEnsemble([make(DepthFormer)]))(images)
    assert depth.class_score is None and depth.depth_mean is not None
    paths = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for k, (member, path) in enumerate(zip(members, paths, strict=True)):
        save_model(member, path, {"learned": {"seed": k}})
    for in_memory in (True, False):
        loaded = load_method("de_information", paths, LoadOptions(in_memory=in_memory))
        assert_same(loaded(images), found, 1e-6)


def test_metrics_rank_by_the_score():
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(4, 20, 30)), axis=0).astype(np.float32)
    truth = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    score = rng.random((20, 30), np.float32)
    study, plain = StudyMetrics(4, 80.0), StudyMetrics(4, 80.0)
    study.update_classes(p, truth, score=score)
    plain.update_classes(p, truth)
    wrong = (p.argmax(axis=0) != truth).ravel()
    metrics, without = study.compute(), plain.compute()
    assert metrics["seg.error_auroc"] == pytest.approx(roc_auc_score(wrong, score.ravel()))
    assert metrics["seg.error_auroc"] != without["seg.error_auroc"]
    for name in ("miou", "ece", "seg.nll", "seg.brier"):
        assert metrics[name] == without[name]
    with pytest.raises(ValueError, match="arrays of one shape"):
        study.update_classes(p, truth, score=score[:5])


# Test-time augmentation


class Flat(torch.nn.Module):
    """Logits that depend on the column of the input, and the same depth everywhere."""

    def forward(self, x):
        size = (len(x), 1, x.shape[-2] // 4, x.shape[-1] // 4)
        ramp = torch.linspace(-1, 1, size[3]).expand(size)
        logits = torch.cat([ramp, -ramp], dim=1)
        return RawOutputs(logits, torch.cat([torch.full(size, 10.0), torch.zeros(size)], dim=1))


def test_copies_are_mirrored_back_and_their_depth_scaled_back():
    images = make_images()
    flat = TestTimeAugmentation(Flat(), scales=(1.0, 1.5))
    p = [sample.probabilities for sample in flat.samples(images)]
    assert len(p) == 4
    torch.testing.assert_close(p[0].flip(-1), p[1])
    torch.testing.assert_close(flat(images).probabilities, torch.full((2, 2, *SIZE), 0.5))
    depths = [float(sample.depth_mean.unique()) for sample in flat.samples(images)]
    # 32 × 64 times 1.5 is 48 × 96, of which the height becomes a multiple of 32: 64 × 96.
    assert depths == pytest.approx([10, 10, 10 * 3**0.5, 10 * 3**0.5])
    variances = [float(sample.depth_variance.unique()) for sample in flat.samples(images)]
    assert variances[2] / variances[0] == pytest.approx(3)


def test_without_scales_it_is_the_mean_of_the_image_and_its_mirror_image(tmp_path):
    network, images = make(), make_images()
    save_model(network, tmp_path / "network.safetensors")
    method = load_method("tta", [tmp_path / "network.safetensors"])
    method.scales = (1.0,)
    single = SingleNetwork(network)
    plain, mirror = single(images), single(images.flip(-1))
    found = method(images)
    expected = (plain.probabilities + mirror.probabilities.flip(-1)) / 2
    torch.testing.assert_close(found.probabilities, expected)
    torch.testing.assert_close(
        found.depth_mean, (plain.depth_mean + mirror.depth_mean.flip(-1)) / 2
    )
    assert found.depth_epistemic.max() > 0
    method.scales = (0.75, 1.25)
    assert_same(method(images), average(method.samples(images)))
