"""Evidential networks against SciPy's and torch's distributions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, stats
from torch.distributions import Dirichlet, kl_divergence

from emu_core.labels import IGNORE
from emu_core.methods.prediction import activate, to_prediction, upsample
from emu_core.methods.registry import load_method
from emu_core.networks import (
    DepthFormer,
    SegDepthFormer,
    SegFormer,
    WeightsError,
    load_model,
    normalize,
    save_model,
)
from emu_core.networks.evidence import (
    MIN_EVIDENCE,
    depth_evidence,
    log_concentrations,
    raw_variance,
)
from emu_core.training.losses import MIN_VARIANCE, evidential_cross_entropy, evidential_nll
from emu_core.training.objectives import MemberLoss, member_loss, total

SIZE = (32, 64)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(kind=SegDepthFormer, evidential=True):
    torch.manual_seed(0)
    network = kind("b0", evidential=evidential)
    if network.depth_decoder is not None:
        network.init_depth(20.0, 3.0)
    for decoder in (network.segmentation_decoder, network.depth_decoder):
        if decoder is not None:
            torch.nn.init.normal_(decoder.head.weight, std=0.1)
    return network.eval()


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=generator)


# Distributions


def test_the_softmax_of_the_logits_is_the_mean_of_the_dirichlet():
    scores = 3 * random(4, 7, 5, 6)
    alpha = 1 + F.softplus(scores)
    expected = Dirichlet(alpha.movedim(1, -1)).mean.movedim(-1, 1)
    torch.testing.assert_close(log_concentrations(scores).softmax(dim=1), expected)


def test_the_variances_of_depth_are_those_of_its_distribution():
    raw = torch.tensor([0.3, 1.2, -2.0]).view(1, 3, 1, 1)
    found = depth_evidence(raw)
    nu, alpha, beta = (float(x) for x in found)
    of_variance = stats.invgamma(alpha, scale=beta)
    assert float(found.aleatoric) == pytest.approx(of_variance.mean(), rel=1e-5)
    # Var[μ] = E[σ²/ν]: the mean is normal around γ with the variance σ²/ν.
    assert float(found.epistemic) == pytest.approx(of_variance.mean() / nu, rel=1e-5)
    predictive = stats.t(2 * alpha, scale=math.sqrt(beta * (1 + nu) / (nu * alpha)))
    both = float(found.aleatoric + found.epistemic)
    assert both == pytest.approx(predictive.var(), rel=1e-4)
    assert float(100 * F.softplus(raw_variance(found))) == pytest.approx(both, rel=1e-5)


# Losses


def test_the_loss_of_depth_is_that_of_the_predictive_student_t():
    mean, raw = 10 + random(2, 1, 4, 5), random(2, 3, 4, 5, seed=1)
    truth = mean + 3 * random(2, 1, 4, 5, seed=2)
    truth[0, 0, 0] = math.nan
    nu, alpha, beta = (x.double().numpy() for x in depth_evidence(raw))
    beta = beta + MIN_VARIANCE
    predictive = stats.t(2 * alpha, mean.numpy(), np.sqrt(beta * (1 + nu) / (nu * alpha)))
    expected = np.nanmean(-predictive.logpdf(truth.numpy()))
    assert evidential_nll(mean, raw, truth).item() == pytest.approx(expected, rel=1e-5)
    error = (truth - mean).abs().double().numpy()
    expected += 0.1 * np.nanmean(error * (2 * nu + alpha))
    assert evidential_nll(mean, raw, truth, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_classes_is_an_expectation_over_the_dirichlet():
    alpha = torch.tensor([1.5, 2.0, 4.0])
    logits, labels = alpha.log().view(1, 3, 1, 1), torch.tensor([[[1]]])
    # p_1 has a beta distribution.
    marginal = stats.beta(2.0, 5.5)
    expected, _ = integrate.quad(lambda p: -math.log(p) * marginal.pdf(p), 0, 1)
    assert evidential_cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    pair = torch.tensor([[[3]]])  # the code of the set of classes 0 and 1
    marginal = stats.beta(3.5, 4.0)
    expected, _ = integrate.quad(lambda p: -math.log(p) * marginal.pdf(p), 0, 1)
    found = evidential_cross_entropy(logits, pair, sets=[[0, 1]]).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_evidence_for_wrong_classes_costs_its_divergence_from_none():
    logits, labels = random(2, 4, 3, 5).abs(), torch.randint(0, 4, (2, 3, 5))
    labels[0, 0] = IGNORE
    alpha, known = logits.exp().movedim(1, -1), labels != IGNORE
    rows, true = alpha[known], F.one_hot(labels[known], 4)
    wrong = Dirichlet(torch.where(true == 1, 1.0, rows))
    expected = kl_divergence(wrong, Dirichlet(torch.ones_like(rows))).mean()
    plain, more = (evidential_cross_entropy(logits, labels, weight=w) for w in (0.0, 0.5))
    torch.testing.assert_close(more - plain, 0.5 * expected, rtol=1e-4, atol=1e-6)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    each = rows.sum(1).digamma() - (rows * true).sum(1).digamma()
    weighted = (each * weights[labels[known]]).mean()
    torch.testing.assert_close(evidential_cross_entropy(logits, labels, weights), weighted)


# Networks


@pytest.mark.parametrize("kind", [SegFormer, DepthFormer, SegDepthFormer])
def test_a_network_trains_on_the_losses_of_evidential_learning(kind):
    network = make(kind).train()
    labels = torch.randint(0, 19, (2, *SIZE), dtype=torch.uint8)
    depth = 10 + 20 * torch.rand(2, 1, *SIZE)
    options = MemberLoss(evidence_weight=0.1)
    raw = network(normalize(images()))
    terms = member_loss(raw, labels, depth, options)
    full = upsample(raw, SIZE)
    if kind is not DepthFormer:
        expected = evidential_cross_entropy(full.logits, labels, weight=0.1)
        torch.testing.assert_close(terms["ce"], expected)
    if kind is not SegFormer:
        mean = activate(full).depth_mean
        torch.testing.assert_close(terms["depth"], evidential_nll(mean, full.evidence, depth, 0.1))
    total(terms).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_its_first_depth_is_what_was_asked_for():
    network = make(DepthFormer)
    torch.nn.init.zeros_(network.depth_decoder.head.weight)
    found = to_prediction(network(normalize(images())), SIZE)
    torch.testing.assert_close(found.depth_mean, torch.full_like(found.depth_mean, 20.0))
    torch.testing.assert_close(
        found.depth_variance, torch.full_like(found.depth_mean, 9.0), rtol=1e-2, atol=0
    )


def test_the_method_tells_both_uncertainties_and_the_vacuity(tmp_path):
    path, network = tmp_path / "last.safetensors", make()
    save_model(network, path)
    assert load_model(path)[0].evidential
    found = load_method("evidential", [path])(images())
    with torch.no_grad():
        stages = network.encoder(normalize(images()))
        scores = network.segmentation_decoder(stages)
        raw = network.depth_decoder(stages)
    full = F.interpolate(raw, SIZE, mode="bilinear")
    nu, alpha = F.softplus(full[:, 1:2]) + MIN_EVIDENCE, F.softplus(full[:, 2:3]) + MIN_EVIDENCE
    aleatoric = 100 * F.softplus(full[:, 3:]) / alpha
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.depth_aleatoric, aleatoric, **close)
    torch.testing.assert_close(found.depth_epistemic, aleatoric / nu, **close)
    torch.testing.assert_close(found.depth_variance, aleatoric / nu + aleatoric, **close)
    log_alpha = F.interpolate((1 + F.softplus(scores)).log(), SIZE, mode="bilinear")
    vacuity = 19 / log_alpha.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(found.class_score, vacuity)
    assert vacuity.min() > 0 and vacuity.max() < 1
    torch.testing.assert_close(found.probabilities, log_alpha.softmax(dim=1))


def test_other_networks_are_no_evidential_ones(tmp_path):
    save_model(make(evidential=False), tmp_path / "last.safetensors")
    assert not load_model(tmp_path / "last.safetensors")[0].evidential
    with pytest.raises(WeightsError, match=r"last\.safetensors: .* architecture\.evidential"):
        load_method("evidential", [tmp_path / "last.safetensors"])
