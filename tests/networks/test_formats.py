"""Weights of other projects are recognised by name, and nothing in them is run."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emu_core.networks import SegFormer, WeightsError, load_hugging_face, load_model, save_model
from emu_core.networks.formats import foreign_format

ONE = torch.zeros(1)
LIGHTNING = {"pytorch-lightning_version": "2.6", "hyper_parameters": {}}

PYTORCH = {
    "mmseg.pth": (
        {"meta": {}, "state_dict": {"backbone.layers.0.0.projection.weight": ONE}},
        "SegFormer of MMSegmentation",
        "convert_segformer_original_to_pytorch.py",
    ),
    "nvidia.pth": (
        {"patch_embed1.proj.weight": ONE},
        "SegFormer of NVIDIA's original code",
        "convert_segformer",
    ),
    "nvidia_whole.pth": (
        {"state_dict": {"backbone.block1.0.attn.q.weight": ONE}},
        "SegFormer of NVIDIA's original code",
        "convert_segformer",
    ),
    "smp.pt": (
        {"encoder.patch_embed1.proj.weight": ONE},
        "segmentation_models_pytorch",
        "nvidia/mit-b0",
    ),
    "timm.pth": (
        {"patch_embed.proj.weight": ONE, "blocks.0.attn.qkv.weight": ONE},
        "timm or torchvision",
        "only SegFormer's Mix Transformers",
    ),
    "resnet.bin": ({"layer1.0.conv1.weight": ONE}, "timm or torchvision", "nvidia/mit-b0"),
    "other.ckpt": (
        {**LIGHTNING, "state_dict": {"net.weight": ONE}},
        "Lightning checkpoint of another project",
        "nvidia/mit-b0",
    ),
    "last.ckpt": (
        {**LIGHTNING, "state_dict": {"model.encoder.stages.0.embed.weight": ONE}},
        "training checkpoint of this project",
        "use last.safetensors",
    ),
    "checkpoint.pt": (
        {"epoch": 3, "model_state_dict": {"a.weight": ONE}},
        "PyTorch checkpoint of another project",
        "nvidia/mit-b0",
    ),
}


def messages(path):
    """What both readers say; each in one line."""
    for read in (load_model, lambda path: load_hugging_face(SegFormer("b0"), path)):
        with pytest.raises(WeightsError) as error:
            read(path)
        text = str(error.value)
        assert str(path) in text and "\n" not in text
        yield text


@pytest.mark.parametrize("name", PYTORCH)
@pytest.mark.filterwarnings("error")
def test_pytorch_files_of_others_are_recognised_by_the_names_in_them(name, tmp_path):
    content, what, advice = PYTORCH[name]
    path = tmp_path / name
    for form in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=form)
        assert all(what in text and advice in text for text in messages(path))
    if "mmseg" in name or "timm" in name:
        path = path.with_suffix(".safetensors")
        tensors = content.get("state_dict", content)
        save_file({key: x.clone() for key, x in tensors.items()}, path)
        assert all(what in text and advice in text for text in messages(path))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("model.engine", b"ftrt" + bytes(99), "a TensorRT engine"),
        ("model.plan", bytes(99), "a TensorRT engine"),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 file of Keras or TensorFlow"),
        ("frozen.pb", b"\x0a\x10", "a TensorFlow model"),
        ("model.tflite", b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite model"),
        ("flax_model.msgpack", b"\x81\xa6params", "a Flax file"),
        ("other.onnx", b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
        ("page.bin", b"<!DOCTYPE html><title>404", "a web page"),
        ("weights.tgz", b"\x1f\x8b\x08" + bytes(99), "a compressed archive; unpack it"),
        ("plain.pkl", pickle.dumps({"a": 1}), "a pickle of PyTorch or another program"),
    ],
)
def test_other_files_are_recognised_by_their_first_bytes_or_their_suffix(
    name, content, what, tmp_path
):
    (tmp_path / name).write_bytes(content)
    assert all(what in text for text in messages(tmp_path / name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_archives_and_folders_are_recognised(tmp_path):
    np.savez(tmp_path / "a.npz", x=1)
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    for name, what in (
        ("a.npz", "a NumPy archive"),
        ("script.pt", "a TorchScript model"),
        ("saved", "a TensorFlow model"),
    ):
        assert all(what in text for text in messages(tmp_path / name))
    with pytest.raises(WeightsError, match=r"is a folder.*last\.safetensors"):
        load_model(tmp_path)


class Hostile:
    """An object whose unpickling would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_recognition_runs_no_code(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "other.pth"
    for form in (True, False):
        content = {"backbone.layers.0.0.x": ONE, "extra": Hostile(victim)}
        torch.save(content, path, _use_new_zipfile_serialization=form)
        assert all("SegFormer of MMSegmentation" in text for text in messages(path))
    assert not victim.exists()


def test_a_damaged_file_of_this_project_is_not_called_foreign(tmp_path):
    path = tmp_path / "last.safetensors"
    save_model(SegFormer("b0"), path)
    assert foreign_format(tmp_path) == ""
    path.write_bytes(path.read_bytes()[:100_000])
    assert foreign_format(path) == ""
    with pytest.raises(WeightsError, match=r"last\.safetensors is not a model.*it is damaged"):
        load_model(path)


def test_every_damaged_pickle_is_refused_in_one_line(tmp_path):
    path, rng = tmp_path / "pytorch_model.bin", np.random.default_rng(0)
    tensors = {f"encoder.block.0.{k}.weight": torch.zeros(4) for k in range(3)}
    for form in (True, False):
        torch.save(tensors, path, _use_new_zipfile_serialization=form)
        code = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(code[: rng.integers(1, len(code) + 1)])
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            with pytest.raises(WeightsError):
                load_hugging_face(SegFormer("b0"), path)
