"""Weights say what they learned, and another use is refused with both values."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emu_core.methods.registry import load_method
from emu_core.methods.sub_ensemble import save_sub_ensemble, with_new_heads
from emu_core.networks import DepthFormer, SegFormer, WeightsError, load_model, save_model
from emu_core.networks.learned import check_independent, check_weights, expect_same

LEARNED = {
    "classes": ["road", "sky", "car"],
    "canonical_focal": 32.0,
    "image_width": 128,
    "depth_limit": 80.0,
}


def refusal(found, expected, **options):
    with pytest.raises(WeightsError) as error:
        expect_same("a.safetensors", found, expected, "b.yaml", "Do this.", **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canonical_focal": 128}, "canonical focal length 32 px against 128 px"),
        ({"canonical_focal": None}, "canonical focal length 32 px against none (plain metres)"),
        ({"classes": ["road"]}, "classes 3 (road, sky, car) against 1 (road)"),
        ({"depth_limit": 400.0}, "depth limit 80 m against 400 m"),
        ({"method": "head"}, "trained as an independent network against a head on a shared trunk"),
        ({"trunk": "89abcdef99"}, "shared trunk 01234567 against 89abcdef"),
    ],
)
def test_a_difference_names_both_values_and_what_to_do(change, message):
    found = {**LEARNED, "method": "network", "trunk": "0123456789"}
    text = refusal(found, {**found, **change})
    assert text == f"a.safetensors and b.yaml disagree: {message}. Do this."


def test_only_what_both_sides_know_is_compared():
    for found in ({}, {"unknown": 1}, LEARNED, {"trunk": None}, {"image_width": 256}):
        expect_same("a", found, {**LEARNED, "trunk": "01"}, "b", "")
    expect_same("a", {"canonical_focal": 0.1 + 0.2}, {"canonical_focal": 0.3}, "b", "")
    # Canonical metres do not depend on the size of the images; plain metres do.
    plain = {"canonical_focal": None, "image_width": 128}
    text = refusal(plain, {**plain, "image_width": 256})
    assert "image width in plain metres 128 px against 256 px" in text


def test_only_the_tasks_of_the_network_are_compared(tmp_path):
    other = {**LEARNED, "classes": ["road"], "canonical_focal": 128.0}
    for network, message in (
        (SegFormer("b0", 3), r"disagree: classes 3 .* against 1 \(road\)\. Do this"),
        (DepthFormer("b0"), "disagree: canonical focal length 32 px against 128 px. Do this"),
    ):
        path = tmp_path / f"{type(network).__name__}.safetensors"
        save_model(network, path, {"learned": LEARNED})
        check_weights(path, LEARNED, "b.yaml", "")
        with pytest.raises(WeightsError, match=message):
            check_weights(path, other, "b.yaml", "Do this.")


def test_heads_on_one_trunk_are_no_ensemble(tmp_path):
    torch.manual_seed(0)
    first = SegFormer("b0", 3)
    networks = {"a": first, "b": SegFormer("b0", 3), "head": with_new_heads(first)}
    for name, network in networks.items():
        save_model(network, tmp_path / f"{name}.safetensors")
    a, b, head = (tmp_path / f"{name}.safetensors" for name in networks)
    load_method("de", [a, b])
    with pytest.raises(WeightsError, match=r"a\.safetensors and .*head\.safetensors share one tr"):
        load_method("de", [a, b, head])
    # Older files do not say which encoder they have, and are still read.
    old = tmp_path / "old.safetensors"
    with safe_open(head, "pt") as file:
        header = file.metadata()["emu_model"]
    save_file(
        load_file(head),
        old,
        {"emu_model": header.split(', "encoder"')[0] + "}"} | {"emu_metadata": "{}"},
    )
    assert load_model(old)[1] == {}
    check_independent([a, b, old])
    check_weights(old, LEARNED, "b.yaml", "")


def test_a_sub_ensemble_keeps_what_it_learned(tmp_path):
    first, path = SegFormer("b0", 3), tmp_path / "dse.safetensors"
    save_sub_ensemble([first, with_new_heads(first)], path, {"learned": LEARNED})
    with pytest.raises(WeightsError, match=r"classes 3 .* against 1 \(sky\)"):
        check_weights(path, {"classes": ["sky"]}, "b.yaml", "")
