"""One trunk with many heads: training and file."""

import pytest
import torch
from safetensors import safe_open

from emu_core.methods.sub_ensemble import load_sub_ensemble, save_sub_ensemble, with_new_heads
from emu_core.networks import (
    DepthFormer,
    SegDepthFormer,
    SegFormer,
    WeightsError,
    load_model,
    save_model,
)


def states_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(x, b[name]) for name, x in a.items())


@pytest.mark.parametrize("kind", [SegFormer, DepthFormer, SegDepthFormer])
def test_heads_are_restored_with_their_trunk_which_is_stored_once(kind, tmp_path):
    torch.manual_seed(0)
    first = kind("b0", dropout=0.2)
    networks = [first, with_new_heads(first), with_new_heads(first)]
    path = tmp_path / "dse.safetensors"
    save_sub_ensemble(networks, path)
    again = load_sub_ensemble(path)
    assert len({id(network.encoder) for network in again}) == 1
    for network, original in zip(again, networks, strict=True):
        assert type(network) is kind
        assert not network.training
        assert network.dropout == 0.2
        assert states_equal(network, original)
    with safe_open(path, "pt") as file:
        names = file.keys()
        stored = sum(torch.Size(file.get_slice(k).get_shape()).numel() for k in names)
    complete = sum(x.numel() for x in first.state_dict().values())
    trunk = sum(x.numel() for x in first.encoder.state_dict().values())
    assert stored == trunk + 3 * (complete - trunk)


def test_new_heads_are_trained_and_the_trunk_is_frozen_in_eval_mode():
    torch.manual_seed(0)
    first = SegDepthFormer("b0", drop_path=0.9, encoder_dropout=0.5)
    network = with_new_heads(first).train()
    name = "segmentation_decoder.head.weight"
    assert not torch.equal(network.state_dict()[name], first.state_dict()[name])
    assert states_equal(network.encoder, first.encoder)

    x = torch.randn(2, 3, 32, 32)
    features = network.encoder(x)
    with torch.no_grad():
        for a, b in zip(features, first.eval().encoder(x), strict=True):
            assert torch.equal(a, b)  # the trunk is in eval mode, though the network trains
    raw = network(x)
    (raw.logits.sum() + raw.depth.sum()).backward()
    assert network.training
    assert network.depth_decoder.training
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.depth_decoder.parameters())
    assert all(p.requires_grad for p in first.encoder.parameters())


def test_networks_without_a_common_trunk_are_not_saved(tmp_path):
    path = tmp_path / "dse.safetensors"
    first = SegFormer("b0")
    for networks, message in (
        ([first, SegFormer("b0")], "Network 1 has another trunk than network 0: encoder"),
        ([first, SegFormer("b0", 7)], "Network 1 is built differently"),
        ([], "at least one"),
    ):
        with pytest.raises(WeightsError, match=message):
            save_sub_ensemble(networks, path)
    assert not path.exists()


def test_each_kind_of_file_is_read_only_by_its_own_function(tmp_path):
    one, many = tmp_path / "one.safetensors", tmp_path / "many.safetensors"
    network = SegFormer("b0")
    save_model(network, one)
    save_sub_ensemble([network, with_new_heads(network)], many)
    with pytest.raises(WeightsError, match=r"many\.safetensors holds 2 heads"):
        load_model(many)
    with pytest.raises(WeightsError, match=r"one\.safetensors holds one network, not a sub-ens"):
        load_sub_ensemble(one)
    many.write_bytes(many.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"many\.safetensors is not a model"):
        load_sub_ensemble(many)
