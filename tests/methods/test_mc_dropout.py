"""MC Dropout: what runs once, and what the samples depend on."""

import pytest
import torch
from method_helpers import KINDS, assert_same, count_calls, make, make_images

from emu_core.methods.mc_dropout import MCDropout
from emu_core.methods.single import SingleNetwork
from emu_core.networks import normalize


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_in_the_decoder_runs_the_encoder_and_the_fusion_once(kind):
    network = make(kind, dropout=0.2)
    decoders = [d for d in (network.segmentation_decoder, network.depth_decoder) if d is not None]
    encoder = count_calls(network.encoder)
    fusions = [count_calls(d.norm) for d in decoders]
    heads = [count_calls(d.head) for d in decoders]
    MCDropout(network, samples=4)(make_images())
    assert len(encoder) == 1
    assert [len(calls) for calls in fusions] == [1] * len(decoders)
    assert [len(calls) for calls in heads] == [4] * len(decoders)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_in_the_encoder_runs_it_for_every_sample_and_changes_the_features(kind):
    network, features = make(kind, dropout=0.0, encoder_dropout=0.2), []
    network.encoder.register_forward_hook(lambda *call: features.append(call[2][3]))
    MCDropout(network, samples=3)(make_images())
    assert len(features) == 3
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_samples_have_the_mean_and_the_variance_of_dropout_before_a_linear_layer(p):
    network, x = make(dropout=p), normalize(make_images(1))
    decoder = network.depth_decoder
    n = 1000
    with torch.no_grad():
        samples = torch.stack([raw.depth for raw in MCDropout(network, n).raw_outputs(x)])
        plain = network(x).depth
        fused = decoder.fuse_features(network.encoder(x))
        # Var Σ w·x·m/(1−p) over masks m is Σ w²·x²·p/(1−p).
        weight = decoder.head.weight[:, :, 0, 0].square()
        variance = torch.einsum("kd,ndhw->nkhw", weight, fused.square()) * p / (1 - p)
    z = (samples.mean(0) - plain) / (variance / n).sqrt()
    assert z.abs().max() < 5
    assert z.square().mean().item() == pytest.approx(1.0, abs=0.35)
    ratio = samples.var(0) / variance
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.02)
    assert ratio.min() > 0.75


def test_only_dropout_is_active_not_stochastic_depth_nor_batch_statistics():
    # This rate drops nothing, so anything else that were active would change the prediction.
    network = make(dropout=1e-9, encoder_dropout=1e-9, drop_path=0.9).train()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    images = make_images()
    sampled = MCDropout(network, samples=2)(images)
    plain = SingleNetwork(network)(images)
    torch.testing.assert_close(sampled.probabilities, plain.probabilities)
    torch.testing.assert_close(sampled.depth_mean, plain.depth_mean)
    assert sampled.depth_epistemic.max() == 0
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("place", ["dropout", "encoder_dropout"])
def test_samples_depend_only_on_seed_and_image(place):
    network = make(**({"dropout": 0.0} | {place: 0.3}))
    images, (first, second) = make_images(2), make_images(2).split(1)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    both = MCDropout(network, 3, seed=5)(images)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert_same(both, MCDropout(network, 3, seed=5)(images))
    swapped = MCDropout(network, 3, seed=5)(torch.cat([second, first]))
    alone = MCDropout(network, 3, seed=5)(second)
    other = MCDropout(network, 3, seed=6)(second)
    for of_second in (swapped.depth_mean[:1], alone.depth_mean):
        torch.testing.assert_close(of_second, both.depth_mean[1:], rtol=1e-4, atol=1e-4)
    assert (other.depth_mean - alone.depth_mean).abs().max() > 0.01


def test_the_first_samples_do_not_depend_on_the_number_of_samples():
    network, images = make(dropout=0.5), make_images(1)
    few, many = (list(MCDropout(network, n, seed=3).samples(images)) for n in (2, 4))
    for a, b in zip(few, many, strict=False):
        assert_same(a, b)
    assert not torch.equal(many[2].depth_mean, many[3].depth_mean)


def test_a_network_without_dropout_is_refused():
    for network in (make(dropout=0.0), make(dropout=0.2).fold_for_inference()):
        with pytest.raises(ValueError, match="trained with dropout"):
            MCDropout(network)
    for options in ({"samples": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="`samples` of at least 1"):
            MCDropout(make(), **options)
