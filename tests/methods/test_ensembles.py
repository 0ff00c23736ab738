"""The methods: one Prediction, one order, one member in memory, shared work done once."""

import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emu_core.methods import ensembles
from emu_core.methods.ensembles import (
    DeepEnsemble,
    MCDropout,
    SingleNetwork,
    SubEnsemble,
    average,
)
from emu_core.methods.prediction import Prediction
from emu_core.methods.registry import LoadOptions, load_method
from emu_core.networks import (
    DepthFormer,
    SegDepthFormer,
    SegFormer,
    WeightsError,
    load_model,
    normalize,
    save_model,
    save_sub_ensemble,
    with_new_heads,
)
from emu_core.training.losses import kl_divergence

SIZE = (32, 64)
KINDS = (SegFormer, DepthFormer, SegDepthFormer)


def make(kind=SegDepthFormer, seed=0, **options):
    """A network that answers differently at every pixel and for every seed."""
    torch.manual_seed(seed)
    network = kind("b0", **options)
    if network.depth_decoder is not None:
        network.init_depth(20.0, 3.0)
    for decoder in (network.segmentation_decoder, network.depth_decoder):
        if decoder is not None:
            torch.nn.init.normal_(decoder.head.weight, std=0.3)
            torch.nn.init.uniform_(decoder.norm.running_var, 0.5, 2.0)
    return network.eval()


def make_images(n=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, *SIZE), dtype=torch.uint8, generator=g)


def by_hand(raws):
    """Upsample, activate, then average, in NumPy's float64 but for torch's interpolation."""
    samples = []
    for raw in raws:
        maps = [
            None if x is None else F.interpolate(x, SIZE, mode="bilinear").double().numpy()
            for x in raw
        ]
        samples.append(maps)
    result = {}
    if samples[0][0] is not None:
        softmax = [np.exp(z - z.max(1, keepdims=True)) for z, _ in samples]
        result["probabilities"] = np.mean([e / e.sum(1, keepdims=True) for e in softmax], axis=0)
    if samples[0][1] is not None:
        means = np.stack([np.maximum(d[:, :1], 0) for _, d in samples])
        variances = 100 * np.stack([np.logaddexp(0, d[:, 1:]) for _, d in samples])  # (10 m)²
        result["depth_mean"] = means.mean(0)
        result["depth_aleatoric"] = variances.mean(0)
        result["depth_epistemic"] = means.var(0)
        result["depth_variance"] = variances.mean(0) + means.var(0)
    return result


def assert_is(prediction, expected, tolerance=1e-5):
    for name, value in vars(prediction).items():
        if name not in expected:
            assert value is None, name
            continue
        torch.testing.assert_close(
            value.double(), torch.from_numpy(expected[name]), rtol=tolerance, atol=tolerance
        )


def assert_same(a, b, tolerance=0.0):
    for name, value in vars(a).items():
        other = getattr(b, name)
        assert (value is None) == (other is None), name
        if value is not None:
            torch.testing.assert_close(value, other, rtol=tolerance, atol=tolerance)


def count_calls(module):
    """A list that grows by one with every pass through the module."""
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


# Averaging


@pytest.mark.parametrize("kind", KINDS)
def test_an_ensemble_upsamples_then_activates_then_averages(kind):
    members, images = [make(kind, seed) for seed in range(3)], make_images()
    with torch.no_grad():
        raws = [member(normalize(images)) for member in members]
    prediction = DeepEnsemble(members)(images)
    assert_is(prediction, by_hand(raws))
    for value in vars(prediction).values():
        assert value is None or not value.requires_grad
    if prediction.depth_mean is not None:
        assert prediction.depth_epistemic.min() > 0
        assert prediction.depth_mean.shape == (2, 1, *SIZE)


def test_averaging_follows_a_hand_computation():
    def sample(p, mean, variance):
        depth = (torch.tensor(x).view(1, 1, 1, 1) for x in (mean, variance))
        return Prediction(torch.tensor([p, 1 - p]).view(1, 2, 1, 1), *depth)

    result = average(
        iter([sample(0.9, 10.0, 1.0), sample(0.5, 12.0, 2.0), sample(0.1, 17.0, 6.0)])
    )
    torch.testing.assert_close(result.probabilities.flatten(), torch.tensor([0.5, 0.5]))
    assert result.depth_mean.item() == 13.0
    assert result.depth_aleatoric.item() == pytest.approx(3.0)
    assert result.depth_epistemic.item() == pytest.approx((9 + 1 + 16) / 3, rel=1e-6)
    assert result.depth_variance.item() == pytest.approx(3 + 26 / 3, rel=1e-6)


def test_averaging_leaves_its_samples_alone_and_holds_one_at_a_time():
    alive = []

    def draw():
        for k in range(4):
            assert all(reference() is None for reference in alive)
            sample = Prediction(
                torch.full((1, 2, 3, 3), 0.5), *torch.full((2, 1, 1, 3, 3), 1.0 + k)
            )
            alive.append(weakref.ref(sample))
            yield sample
            del sample

    assert average(draw()).depth_mean.unique().item() == 2.5
    kept = [Prediction(torch.full((1, 2, 3, 3), p)) for p in (0.2, 0.4)]
    torch.testing.assert_close(average(kept).probabilities, torch.full((1, 2, 3, 3), 0.3))
    assert kept[0].probabilities.unique().item() == pytest.approx(0.2)


def test_nothing_and_unlike_samples_cannot_be_averaged():
    both, seg = Prediction(*torch.ones(3, 1, 1, 2, 2)), Prediction(torch.ones(1, 1, 2, 2))
    with pytest.raises(ValueError, match="at least one sample"):
        average([])
    for samples in ([both, seg], [seg, both]):
        with pytest.raises(ValueError, match="Sample 1 does not predict the same"):
            average(samples)


# A single network


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_network_gives_its_own_softmax_mean_and_unsplit_variance(kind):
    network, images = make(kind), make_images()
    with torch.no_grad():
        expected = by_hand([network(normalize(images))])
    for part in ("depth_aleatoric", "depth_epistemic"):
        expected.pop(part, None)
    assert_is(SingleNetwork(network.train())(images), expected)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 32, 32), torch.zeros(3, 32, 32, dtype=torch.uint8)]
)
def test_images_that_are_not_rgb_bytes_in_a_batch_are_refused(images):
    network = make()
    for method in (SingleNetwork(network), DeepEnsemble([network])):
        with pytest.raises(ValueError, match=r"uint8 \(N, 3, H, W\), but got"):
            method(images)


# Deep Ensemble


@pytest.fixture
def member_files(tmp_path):
    paths = [tmp_path / f"member-{k}.safetensors" for k in range(3)]
    for k, path in enumerate(paths):
        save_model(make(seed=k), path)
    return paths


def test_members_are_read_one_after_the_other_and_dropped(member_files, monkeypatch):
    read = []

    def watch(path):
        assert all(reference() is None for reference, _ in read)
        network, metadata = load_model(path)
        read.append((weakref.ref(network), path))
        return network, metadata

    monkeypatch.setattr(ensembles, "load_model", watch)
    lazy = load_method("de", member_files)
    assert not read
    images = make_images()
    prediction = lazy(images)
    assert [path for _, path in read] == member_files
    monkeypatch.undo()
    assert_same(
        prediction, load_method("de", member_files, LoadOptions(in_memory=True))(images), 1e-5
    )


def test_a_missing_member_is_noticed_before_the_first_image(member_files):
    member_files[2].unlink()
    with pytest.raises(WeightsError, match=r"member-2\.safetensors"):
        load_method("de", member_files)


def test_members_of_different_kinds_are_refused(member_files):
    with pytest.raises(ValueError, match=r"member 1 .*SegFormer"):
        DeepEnsemble([member_files[0], make(SegFormer)])
    with pytest.raises(ValueError, match=r"member 1 .*7"):
        DeepEnsemble([make(), make(num_classes=7)])
    with pytest.raises(ValueError, match="at least one member"):
        DeepEnsemble([])


def test_samples_come_one_by_one_without_switching_gradients_off_for_the_caller():
    method, images = DeepEnsemble([make(seed=0), make(seed=1)]), make_images(1)
    seen = []
    for sample in method.samples(images):
        assert torch.is_grad_enabled()
        assert not sample.probabilities.requires_grad
        seen.append(sample)
    assert_same(average(seen), method(images))
    assert not torch.equal(seen[0].depth_mean, seen[1].depth_mean)


def test_a_teachers_prediction_can_stand_in_a_loss():
    images, student = make_images(1), make(seed=7)
    teacher = DeepEnsemble([make(seed=0), make(seed=1)])(images)
    logits = F.interpolate(student(normalize(images)).logits, SIZE, mode="bilinear")
    kl_divergence(logits, teacher.probabilities).backward()
    assert student.segmentation_decoder.head.weight.grad.abs().max() > 0


# MC Dropout


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


def test_only_dropout_is_live_not_stochastic_depth_nor_batch_statistics():
    # So small a rate drops nothing: what else were live would show.
    network = make(dropout=1e-9, encoder_dropout=1e-9, drop_path=0.9).train()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    images = make_images()
    sampled = MCDropout(network, samples=2)(images)
    plain = SingleNetwork(network)(images)
    torch.testing.assert_close(sampled.probabilities, plain.probabilities)
    torch.testing.assert_close(sampled.depth_mean, plain.depth_mean)
    assert sampled.depth_epistemic.max() == 0
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


@pytest.mark.parametrize("place", ["dropout", "encoder_dropout"])
def test_samples_depend_on_seed_and_image_alone(place):
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


def test_more_samples_begin_with_the_same_ones():
    network, images = make(dropout=0.5), make_images(1)
    few, many = (list(MCDropout(network, n, seed=3).samples(images)) for n in (2, 4))
    for a, b in zip(few, many, strict=False):
        assert_same(a, b)
    assert not torch.equal(many[2].depth_mean, many[3].depth_mean)


def test_afterwards_the_network_is_an_ordinary_one_even_after_an_error():
    network, images = make(dropout=0.5, encoder_dropout=0.5), make_images(1)
    before = SingleNetwork(network)(images)
    list(MCDropout(network, 2).samples(images))
    with pytest.raises(ValueError, match="at least 32"):
        MCDropout(network, 2)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert_same(SingleNetwork(network)(images), before)


def test_a_network_without_dropout_is_refused():
    for network in (make(dropout=0.0), make(dropout=0.2).fold_for_inference()):
        with pytest.raises(ValueError, match="trained with dropout"):
            MCDropout(network)
    for options in ({"samples": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="`samples` of at least 1"):
            MCDropout(make(), **options)


# Deep Sub-Ensemble


def make_heads(kind=SegDepthFormer, number=3):
    networks = [make(kind, 0)]
    for seed in range(1, number):
        network, other = with_new_heads(networks[0]), make(kind, seed)
        decoders = {k: x for k, x in other.state_dict().items() if not k.startswith("encoder.")}
        network.load_state_dict(decoders, strict=False)
        networks.append(network.eval())
    return networks


@pytest.mark.parametrize("kind", KINDS)
def test_a_sub_ensemble_equals_an_ensemble_of_its_networks_with_one_pass_of_the_trunk(
    kind, tmp_path
):
    networks, images = make_heads(kind), make_images()
    save_sub_ensemble(networks, tmp_path / "dse.safetensors")
    method = load_method("dse", [tmp_path / "dse.safetensors"])
    passes = count_calls(method.networks[0].encoder)
    assert_same(method(images), DeepEnsemble(networks)(images), tolerance=1e-5)
    assert len(passes) == 1


def test_heads_of_several_trunks_are_no_sub_ensemble():
    with pytest.raises(ValueError, match="2 with 2 encoders"):
        SubEnsemble([make(), make()])
    with pytest.raises(ValueError, match="at least one"):
        SubEnsemble([])


# From files


def test_every_kind_is_built_from_its_files(member_files):
    images = make_images(1)
    network = load_model(member_files[0])[0]
    for kind in ("single", "control", "student"):
        assert_same(load_method(kind, member_files[:1])(images), SingleNetwork(network)(images))
    assert_same(
        load_method("mcd", member_files[:1], LoadOptions(samples=3, seed=4))(images),
        MCDropout(network, 3, 4)(images),
    )


def test_all_that_a_method_keeps_moves_to_a_device(member_files):
    networks = [load_model(path)[0] for path in member_files]
    shared = [networks[0], load_model(member_files[1])[0]]
    shared[1].encoder = shared[0].encoder
    for method in (
        SingleNetwork(networks[0]),
        MCDropout(networks[1], 2),
        SubEnsemble(shared),
        DeepEnsemble([networks[2], member_files[0]]),
    ):
        ensembles.move_to(method, "meta")
    assert all(x.is_meta for n in [*networks, *shared] for x in n.state_dict().values())
    ensembles.move_to(lambda images: Prediction(), "meta")  # keeps nothing


def test_wrong_kinds_and_numbers_of_files_are_refused(member_files):
    with pytest.raises(ValueError, match=r"a method of single, .*, but got 'swag'"):
        load_method("swag", member_files)
    with pytest.raises(ValueError, match="one file for method 'student', but got 3"):
        load_method("student", member_files)
    with pytest.raises(WeightsError, match="holds no sub-ensemble"):
        load_method("dse", member_files[:1])
