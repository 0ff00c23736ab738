"""Mahalanobis distance and NECO against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import SIZE, make, make_images
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from emu_core.methods.post_hoc.feature_scores import (
    NECO_SHARE,
    STATISTICS,
    FeatureSums,
    mahalanobis,
    neco,
)
from emu_core.methods.post_hoc.scores import OFFSET
from emu_core.methods.registry import load_method
from emu_core.methods.single import SingleNetwork
from emu_core.networks import DepthFormer, SegFormer, WeightsError, normalize, save_model


@pytest.fixture(scope="module")
def network():
    return make()


@pytest.fixture(scope="module")
def features(network):
    """Features of two images, (2, 256, 8, 16), and labels of 4 × 4 pixels each."""
    with torch.no_grad():
        stages = network.encoder(normalize(make_images()))
        found = network.segmentation_decoder.fuse_features(stages)
    coarse = torch.randint(0, 5, (2, *found.shape[2:]), generator=torch.Generator().manual_seed(1))
    coarse[coarse == 4] = 255
    return found, coarse


@pytest.fixture(scope="module")
def sums(network, features):
    labels = features[1].repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    sums = FeatureSums.of(network)
    for image, of_image in zip(make_images(), labels, strict=True):
        sums.add(image[None], of_image[None])
    return sums


@pytest.fixture(scope="module")
def rows(features):
    """Features (n, D) with a class, and their classes (n,)."""
    found, coarse = features
    flat, labels = found.permute(0, 2, 3, 1).reshape(-1, found.shape[1]), coarse.flatten()
    return flat[labels < 4].double().numpy(), labels[labels < 4].numpy()


def test_the_mahalanobis_distance_is_that_of_scikit_learn(sums, rows):
    x, classes = rows
    assert sums.counts[:4].tolist() == np.bincount(classes).tolist()
    means = np.stack([x[classes == k].mean(axis=0) for k in range(4)])
    covariance = EmpiricalCovariance(assume_centered=True).fit(x - means[classes])
    # The directions without variance, of which there are many here, need the ridge.
    values = np.linalg.eigvalsh(covariance.covariance_)
    ridge = 1e-6 * values.clip(0).mean() * np.eye(len(values))
    inverse = np.linalg.inv(covariance.covariance_ + ridge)
    inside = x[:50]  # its deviations lie in the directions with variance
    difference = inside[:, None] - means
    expected = np.sqrt(np.einsum("nkd,de,nke->nk", difference, inverse, difference)).min(axis=1)
    found = mahalanobis(torch.from_numpy(inside).float(), sums.statistics())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.02)


def test_neco_is_the_share_of_the_length_in_principal_directions(sums, rows):
    x, _ = rows
    scaler = StandardScaler().fit(x)
    pca = PCA(NECO_SHARE, svd_solver="full").fit(scaler.transform(x))
    other = np.random.default_rng(0).normal(size=(20, x.shape[1])) * x.std() + x.mean()
    for points in (x[:50], other):
        scaled = scaler.transform(points)
        inside = np.linalg.norm(pca.transform(scaled), axis=1)
        expected = inside / np.linalg.norm(scaled, axis=1)
        found = neco(torch.from_numpy(points).float(), sums.statistics()).numpy()
        np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert expected.mean() < 0.8 < NECO_SHARE**0.5  # random directions are told apart


def test_the_methods_rank_what_the_single_network_predicts(network, sums, features, tmp_path):
    path, images = tmp_path / "last.safetensors", make_images()
    save_model(network, path)
    with pytest.raises(WeightsError, match=r"no .*last\.features\.safetensors.*fit_features\.py"):
        load_method("neco", [path])
    assert STATISTICS.save(sums.statistics(), path) == STATISTICS.path(path)
    plain, statistics = SingleNetwork(network)(images), sums.statistics()
    at_quarter = features[0].permute(0, 2, 3, 1)
    with torch.no_grad():
        logits = network(normalize(images)).logits
    share = neco(at_quarter, statistics)
    expected = {
        "mahalanobis": mahalanobis(at_quarter, statistics),
        "neco": 1 - share,
        "neco_energy": OFFSET - share * logits.logsumexp(dim=1),
    }
    for kind, score in expected.items():
        found = load_method(kind, [path])(images)
        torch.testing.assert_close(found.probabilities, plain.probabilities)
        torch.testing.assert_close(found.depth_mean, plain.depth_mean)
        full = F.interpolate(score[:, None], SIZE, mode="bilinear")
        torch.testing.assert_close(found.class_score, full, rtol=1e-4, atol=1e-4)


def test_networks_and_frames_without_classes_are_refused(network):
    with pytest.raises(ValueError, match="unfolded segmentation decoder"):
        FeatureSums.of(make(DepthFormer))
    empty = FeatureSums.of(make(SegFormer))
    empty.add(make_images(), torch.full((2, *SIZE), 255, dtype=torch.uint8))
    with pytest.raises(ValueError, match="No training pixel has a class"):
        empty.statistics()
