"""The methods: one Prediction, one order, one member in memory, shared work done once."""

import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import KINDS, SIZE, assert_same, count_calls, make, make_images

from emu_core.methods import deep_ensemble
from emu_core.methods.base import average
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.mc_dropout import MCDropout
from emu_core.methods.prediction import Prediction
from emu_core.methods.registry import LoadOptions, load_method
from emu_core.methods.single import SingleNetwork
from emu_core.methods.sub_ensemble import SubEnsemble, save_sub_ensemble, with_new_heads
from emu_core.networks import SegFormer, WeightsError, load_model, normalize, save_model


def by_hand(raws):
    """Upsample, activate, then average, in NumPy's float64 except for torch's interpolation."""
    logits, depths = (
        [F.interpolate(x, SIZE, mode="bilinear").double().numpy() for x in maps if x is not None]
        for maps in zip(*raws, strict=True)
    )
    result = {}
    if logits:
        softmax = [np.exp(z - z.max(1, keepdims=True)) for z in logits]
        result["probabilities"] = np.mean([e / e.sum(1, keepdims=True) for e in softmax], axis=0)
    if depths:
        means = np.stack([np.maximum(d[:, :1], 0) for d in depths])
        variances = 100 * np.stack([np.logaddexp(0, d[:, 1:]) for d in depths])  # (10 m)²
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


# Averaging


@pytest.mark.parametrize("kind", KINDS)
def test_an_ensemble_upsamples_then_activates_then_averages(kind):
    members, images = [make(kind, seed) for seed in range(3)], make_images()
    with torch.no_grad():
        raws = [member(normalize(images)) for member in members]
    prediction = DeepEnsemble(members)(images)
    assert_is(prediction, by_hand(raws))
    assert not any(v.requires_grad for v in vars(prediction).values() if v is not None)
    if prediction.depth_mean is not None:
        assert prediction.depth_epistemic.min() > 0
        assert prediction.depth_mean.shape == (2, 1, *SIZE)


def test_averaging_does_not_change_its_samples_and_holds_one_at_a_time():
    alive = []

    def draw():
        for k in range(4):
            assert all(reference() is None for reference in alive)
            sample = Prediction(None, *torch.full((2, 1, 1, 3, 3), 1.0 + k))
            alive.append(weakref.ref(sample))
            yield sample
            del sample

    assert average(draw()).depth_mean.unique().item() == 2.5
    kept = [Prediction(torch.full((1, 2, 3, 3), p)) for p in (0.2, 0.4)]
    torch.testing.assert_close(average(kept).probabilities, torch.full((1, 2, 3, 3), 0.3))
    assert kept[0].probabilities.unique().item() == pytest.approx(0.2)


def test_no_samples_and_samples_of_different_tasks_are_refused():
    both, seg = Prediction(*torch.ones(3, 1, 1, 2, 2)), Prediction(torch.ones(1, 1, 2, 2))
    with pytest.raises(ValueError, match="at least one sample"):
        average([])
    for samples in ([both, seg], [seg, both]):
        with pytest.raises(ValueError, match="Sample 1 does not predict the same"):
            average(samples)


# Single network


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_network_predicts_softmax_mean_and_an_unsplit_variance(kind):
    network, images = make(kind), make_images()
    with torch.no_grad():
        expected = by_hand([network(normalize(images))])
    for part in ("depth_aleatoric", "depth_epistemic"):
        expected.pop(part, None)
    assert_is(SingleNetwork(network.train())(images), expected)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 32, 32), torch.zeros(3, 32, 32, dtype=torch.uint8)]
)
def test_images_of_another_type_or_shape_are_refused(images):
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

    monkeypatch.setattr(deep_ensemble, "load_model", watch)
    lazy = load_method("de", member_files)
    assert not read
    images = make_images()
    prediction = lazy(images)
    assert [path for _, path in read] == member_files
    monkeypatch.undo()
    in_memory = load_method("de", member_files, LoadOptions(in_memory=True))
    assert_same(prediction, in_memory(images), 1e-5)


def test_a_missing_member_is_reported_before_the_first_image(member_files):
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


def test_samples_have_no_gradients_and_leave_them_on_for_the_caller():
    method, images = DeepEnsemble([make(seed=0), make(seed=1)]), make_images(1)
    seen = []
    for sample in method.samples(images):
        assert torch.is_grad_enabled()
        assert not sample.probabilities.requires_grad
        seen.append(sample)
    assert_same(average(seen), method(images))
    assert not torch.equal(seen[0].depth_mean, seen[1].depth_mean)


# Deep Sub-Ensemble


def test_a_packed_ensemble_has_the_parameters_of_one_network_and_averages_its_members(tmp_path):
    members = [make(seed=k, variant="b0_half") for k in range(4)]
    size = sum(x.numel() for member in members for x in member.parameters())
    assert size == pytest.approx(sum(x.numel() for x in make().parameters()), rel=0.05)
    paths = [tmp_path / f"member-{k}.safetensors" for k in range(4)]
    for k, (member, path) in enumerate(zip(members, paths, strict=True)):
        save_model(member, path, {"learned": {"seed": k}})
    found = load_method("packed", paths)(make_images())
    assert_same(found, DeepEnsemble(members)(make_images()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sub_ensemble_equals_an_ensemble_of_its_networks_with_one_pass_of_the_trunk(
    kind, tmp_path
):
    networks, images = [make(kind, 0)], make_images()
    for seed in (1, 2):
        network = with_new_heads(networks[0])
        own = {k: x for k, x in make(kind, seed).state_dict().items() if "encoder." not in k}
        network.load_state_dict(own, strict=False)
        networks.append(network.eval())
    save_sub_ensemble(networks, tmp_path / "dse.safetensors")
    method = load_method("dse", [tmp_path / "dse.safetensors"])
    passes = count_calls(method.networks[0].encoder)
    assert_same(method(images), DeepEnsemble(networks)(images), tolerance=1e-5)
    assert len(passes) == 1


def test_networks_with_different_encoders_are_not_a_sub_ensemble():
    with pytest.raises(ValueError, match="2 with 2 encoders"):
        SubEnsemble([make(), make()])
    with pytest.raises(ValueError, match="at least one"):
        SubEnsemble([])


# Registry


def test_methods_are_loaded_from_their_files(member_files):
    images = make_images(1)
    network = load_model(member_files[0])[0]
    for kind in ("single", "control", "student"):
        assert_same(load_method(kind, member_files[:1])(images), SingleNetwork(network)(images))
    assert_same(
        load_method("mcd", member_files[:1], LoadOptions(samples=3, seed=4))(images),
        MCDropout(network, 3, 4)(images),
    )


def test_a_method_moves_the_networks_that_it_keeps_in_memory(member_files):
    networks = [load_model(path)[0] for path in member_files]
    shared = [networks[0], load_model(member_files[1])[0]]
    shared[1].encoder = shared[0].encoder
    for method in (
        SingleNetwork(networks[0]),
        MCDropout(networks[1], 2),
        SubEnsemble(shared),
        DeepEnsemble([networks[2], member_files[0]]),
    ):
        method.to("meta")
    assert all(x.is_meta for n in [*networks, *shared] for x in n.state_dict().values())


def test_wrong_kinds_and_numbers_of_files_are_refused(member_files):
    with pytest.raises(ValueError, match=r"a method of .*single, .*, but got 'swag'"):
        load_method("swag", member_files)
    with pytest.raises(ValueError, match="one file for method 'student', but got 3"):
        load_method("student", member_files)
    with pytest.raises(WeightsError, match="not a sub-ensemble"):
        load_method("dse", member_files[:1])
