"""Our own model files: a model is restored from its file alone."""

import json

import pytest
import torch
from safetensors.torch import save_file

from emu_core.networks import (
    DepthFormer,
    SegDepthFormer,
    SegFormer,
    WeightsError,
    load_model,
    save_model,
)


@pytest.mark.parametrize(
    "model",
    [
        SegFormer("b0", 7, dropout=0.5, layer_norm_eps=1e-5),
        DepthFormer("b0", drop_path=0.2),
        SegDepthFormer("b1", 40, encoder_dropout=0.2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_is_restored_with_its_options_and_metadata(model, tmp_path):
    torch.manual_seed(0)
    model.to(memory_format=torch.channels_last).train()
    model(torch.randn(2, 3, 64, 64))  # changes the statistics
    metadata = {"epoch": 3, "classes": ["Straße", "tree"], "metrics": {"miou": 0.5}}

    save_model(model, tmp_path / "new" / "model.safetensors", metadata)
    again, returned = load_model(tmp_path / "new" / "model.safetensors")

    assert type(again) is type(model)
    assert returned == metadata
    assert not again.training
    for name in ("variant", "num_classes", "dropout", "encoder_dropout", "drop_path"):
        assert getattr(again, name) == getattr(model, name)
    assert again.encoder.layer_norm_eps == model.encoder.layer_norm_eps
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model.safetensors"]
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model.eval()(x))


def test_a_folded_or_other_model_is_not_saved(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match="save the original"):
        save_model(SegFormer("b0").fold_for_inference(), path)
    with pytest.raises(WeightsError, match="SegDepthFormer, but got Linear"):
        save_model(torch.nn.Linear(2, 2), path)
    assert not path.exists()


def test_invalid_metadata_does_not_change_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(SegFormer("b0"), path, {"run": 1})
    with pytest.raises(WeightsError, match="metadata"):
        save_model(SegFormer("b0"), path, {"run": object()})
    assert load_model(path)[1] == {"run": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_other_files_are_refused_with_their_path(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match=r"no model at .*model\.safetensors"):
        load_model(path)
    save_model(SegFormer("b0"), path)
    complete = path.read_bytes()
    for content in (b"", b"garbage", complete[:50_000]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.safetensors is not a model"):
            load_model(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"model\.safetensors is not a model"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "has format 99"),
        ({"kind": "Linear"}, "is not a model"),
        ({"variant": "b9"}, "is not a model"),
        ({"num_classes": 5}, "is not a model"),
        ({"variant": None}, "is not a model"),
    ],
)
def test_an_invalid_header_is_refused(change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    model = SegFormer("b0")
    header = {"version": 1, "kind": "SegFormer", "variant": "b0", "num_classes": 19}
    header |= {"dropout": 0.1, "drop_path": 0.1, "layer_norm_eps": 1e-6}
    texts = {"emu_metadata": "{}"}
    save_file(model.state_dict(), path, texts | {"emu_model": json.dumps(header)})
    assert load_model(path)[0].encoder_dropout == 0.0  # missing in older files
    save_file(model.state_dict(), path, texts | {"emu_model": json.dumps(header | change)})
    with pytest.raises(WeightsError, match=message):
        load_model(path)
