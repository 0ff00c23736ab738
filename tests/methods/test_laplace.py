"""The last-layer Laplace approximation against scikit-learn, autograd and dense matrices."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import SIZE, make, make_images
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from emu_core.methods.post_hoc.laplace import (
    CURVATURE,
    CurvatureSums,
    LastLayerLaplace,
    logit_variances,
)
from emu_core.methods.registry import load_method
from emu_core.methods.single import SingleNetwork
from emu_core.networks import DepthFormer, SegFormer, WeightsError, normalize, save_model

NOTHING = 255


@pytest.fixture(scope="module")
def network():
    return make()


def truth(measured):
    """Labels and depth of 4 × 4 pixels for two images; a share of the places has both."""
    g = torch.Generator().manual_seed(3)
    shape = (2, SIZE[0] // 4, SIZE[1] // 4)
    there = torch.rand(shape, generator=g) < measured
    labels = torch.randint(0, 5, shape, generator=g).where(there, NOTHING)
    depth = (5 + 30 * torch.rand(shape, generator=g)).where(there, math.nan)
    full = (x.repeat_interleave(4, 1).repeat_interleave(4, 2) for x in (labels, depth))
    labels, depth = full
    return there, labels.to(torch.uint8), depth[:, None]


def features(network, task, images):
    """Features with a 1 (n, D + 1), and raw outputs (n, K), of all places; float64."""
    decoder = getattr(network, f"{task}_decoder")
    with torch.no_grad():
        found = decoder.fuse_features(network.encoder(normalize(images)))
        raw = decoder.read_out(found)
    rows, raw = (x.permute(0, 2, 3, 1).flatten(0, 2).double() for x in (found, raw))
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1), raw


def fitted(network, measured=0.5):
    there, labels, depth = truth(measured)
    sums = CurvatureSums.of(network)
    for i, image in enumerate(make_images()):
        sums.add(image[None], labels[i : i + 1], depth[i : i + 1])
    return sums, there.flatten()


@pytest.mark.parametrize("precision", [0.2, 1.0, 5.0])
def test_the_variance_of_the_mean_depth_is_that_of_a_linear_gaussian_process(network, precision):
    sums, there = fitted(network, 0.5)
    rows, raw = features(network, "depth", make_images())
    noise = 100 * F.softplus(raw[there, 1]) + 1e-4
    # A linear model with prior N(0, 1/precision) of its weights, bias included.
    process = GaussianProcessRegressor(
        DotProduct(sigma_0=0.0, sigma_0_bounds="fixed") * (1 / precision),
        alpha=noise.numpy(),
        optimizer=None,
    )
    process.fit(rows[there].numpy(), np.zeros(int(there.sum())))
    _, expected = process.predict(rows.numpy(), return_std=True)
    root = sums.posterior(precision)["depth_root"]
    found = (rows.float() @ root).norm(dim=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-3)


def test_the_curvature_of_one_pixel_is_the_hessian_of_its_loss():
    """For one pixel, the Kronecker product of the two factors is exact."""
    g = torch.Generator().manual_seed(0)
    feature, weight = (torch.randn(s, generator=g).double() for s in (4, (3, 4)))

    def loss(w):
        return F.cross_entropy((w.view(3, 4) @ feature)[None], torch.tensor([1]))

    hessian = torch.autograd.functional.hessian(loss, weight.flatten())
    p = (weight @ feature).softmax(dim=0)
    sums = CurvatureSums(
        make(SegFormer), 1, torch.outer(feature, feature), p.diag() - torch.outer(p, p), None
    )
    torch.testing.assert_close(torch.kron(sums.class_outputs, sums.class_inputs), hessian)
    covariance = torch.linalg.inv(hessian + 0.7 * torch.eye(12))
    points = torch.randn(5, 4, generator=g).double()
    jacobian = torch.stack([torch.kron(torch.eye(3).double(), x[None]) for x in points])
    expected = (jacobian @ covariance @ jacobian.mT).diagonal(dim1=1, dim2=2)
    found = logit_variances(points.float(), sums.posterior(0.7))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_the_factors_are_sums_over_labelled_places(network):
    sums, there = fitted(network)
    rows, logits = features(network, "segmentation", make_images())
    rows, p = rows[there], logits[there].softmax(dim=1)
    assert sums.pixels == int(there.sum()) > 0
    torch.testing.assert_close(sums.class_inputs, rows.T @ rows, rtol=1e-5, atol=1e-3)
    outputs = sum(x.diag() - torch.outer(x, x) for x in p)
    torch.testing.assert_close(sums.class_outputs, outputs, rtol=1e-5, atol=1e-5)


def test_the_method_adds_its_variances_to_the_single_network(network, tmp_path):
    path, images = tmp_path / "last.safetensors", make_images()
    save_model(network, path)
    with pytest.raises(WeightsError, match=r"no .*last\.laplace\.safetensors.*fit_features\.py"):
        load_method("laplace", [path])
    sums, _ = fitted(network)
    assert CURVATURE.save(sums.posterior(), path) == CURVATURE.path(path)
    found, plain = load_method("laplace", [path])(images), SingleNetwork(network)(images)
    torch.testing.assert_close(found.depth_mean, plain.depth_mean)
    torch.testing.assert_close(found.depth_aleatoric, plain.depth_variance)
    torch.testing.assert_close(found.depth_variance, plain.depth_variance + found.depth_epistemic)
    rows, _ = features(network, "depth", images)
    variance = (rows.float() @ sums.posterior()["depth_root"]).square().sum(dim=1)
    variance = variance.view(2, 1, SIZE[0] // 4, SIZE[1] // 4)
    expected = F.interpolate(variance, SIZE, mode="bilinear")
    torch.testing.assert_close(found.depth_epistemic, expected, rtol=1e-3, atol=1e-6)
    rows, logits = features(network, "segmentation", images)
    scaled = logits / (1 + math.pi / 8 * logit_variances(rows.float(), sums.posterior())).sqrt()
    scaled = scaled.view(2, SIZE[0] // 4, SIZE[1] // 4, -1).permute(0, 3, 1, 2)
    expected = F.interpolate(scaled, SIZE, mode="bilinear").softmax(dim=1)
    torch.testing.assert_close(found.probabilities.double(), expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(found.probabilities, plain.probabilities, atol=1e-3)


@pytest.mark.parametrize("kind", [SegFormer, DepthFormer])
def test_networks_of_one_task_have_the_posterior_of_one_layer(kind):
    network = make(kind)
    sums, _ = fitted(network)
    prediction = LastLayerLaplace(network, sums.posterior())(make_images())
    plain = SingleNetwork(network)(make_images())
    if kind is SegFormer:
        assert prediction.depth_mean is None and "depth_root" not in sums.posterior()
    else:
        assert prediction.probabilities is None and "class_basis" not in sums.posterior()
        assert (prediction.depth_variance > plain.depth_variance).all()


def test_a_network_without_labelled_pixels_keeps_its_prior(network):
    sums, _ = fitted(network, measured=0.0)
    rows, _ = features(network, "depth", make_images())
    found = (rows.float() @ sums.posterior(2.0)["depth_root"]).square().sum(dim=1)
    torch.testing.assert_close(found, rows.square().sum(dim=1).float() / 2)
    rows, _ = features(network, "segmentation", make_images())
    found = logit_variances(rows.float(), sums.posterior(2.0))
    expected = (rows.square().sum(dim=1, keepdim=True).float() / 2).expand(found.shape)
    torch.testing.assert_close(found, expected)


def test_folded_networks_are_refused(network):
    with pytest.raises(ValueError, match="unfolded decoders"):
        CurvatureSums.of(network.fold_for_inference())
