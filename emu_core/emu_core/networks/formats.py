"""Recognise weights files of other projects, for error messages. Nothing is unpickled.

The first bytes of a file show its container, and the names of its tensors who wrote them. Names in
a pickle are read from its opcodes, without running it.
"""

from __future__ import annotations

import io
import itertools
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from emu_core.files import expand

_ENCODERS = (
    "to start from it, set architecture.encoder to nvidia/mit-b0 … nvidia/mit-b5, or to a folder "
    "in Hugging Face's SegFormer format"
)
_CONVERT = (
    "convert it with convert_segformer_original_to_pytorch.py of transformers, and set "
    "architecture.encoder to the folder that it writes, or to nvidia/mit-b0 … nvidia/mit-b5"
)
_NO_WEIGHTS = "use the .safetensors file of this project that it was made from"

_STARTS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "run git lfs pull to get the file"),
    (0, b"<!do", "a web page", "download the file itself"),
    (0, b"<htm", "a web page", "download the file itself"),
    (0, b"\x89HDF\r\n", "an HDF5 file of Keras or TensorFlow", _ENCODERS),
    (0, b"ftrt", "a TensorRT engine", _NO_WEIGHTS),
    (0, b"ptrt", "a TensorRT engine", _NO_WEIGHTS),
    (4, b"TFL3", "a TensorFlow Lite model", _ENCODERS),
    (0, b"GGUF", "a GGUF file", _ENCODERS),
    (0, b"\x93NUMPY", "a NumPy array", _ENCODERS),
    (0, b"\x1f\x8b", "a compressed archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
)
"""Place and first bytes, what the file is, and what to do."""

_SUFFIXES = {
    (".onnx", ".ort"): (
        "an ONNX model",
        "a model file of this project can be given to architecture.init or to evaluate.py --model",
    ),
    (".engine", ".plan", ".trt"): ("a TensorRT engine", _NO_WEIGHTS),
    (".h5", ".hdf5", ".keras", ".pb", ".index", ".tflite"): ("a TensorFlow model", _ENCODERS),
    (".msgpack",): ("a Flax file", _ENCODERS),
    (".pdparams",): ("a PaddlePaddle file", _ENCODERS),
    (".mlmodel", ".mlpackage"): ("a Core ML model", _NO_WEIGHTS),
    (".etlt", ".tlt"): ("an NVIDIA TAO model", _ENCODERS),
    (".xml",): ("an OpenVINO model", _NO_WEIGHTS),
}

_LAYOUTS = (
    (r"model\.encoder\.stages\.\d+\.embed\.", "a training checkpoint of this project", ""),
    (
        r"(encoder|trunk)\.stages\.\d+\.embed\.",
        "weights of this project without their options",
        "",
    ),
    (r"pytorch-lightning_version", "a Lightning checkpoint of another project", _ENCODERS),
    (r"(module\.)?backbone\.layers\.\d+\.", "a SegFormer of MMSegmentation", _CONVERT),
    (
        r"encoder\.(patch_embed|block)[1-4]\.",
        "a SegFormer of segmentation_models_pytorch",
        _ENCODERS,
    ),
    (r"(.+\.)?(patch_embed|block)[1-4]\.", "a SegFormer of NVIDIA's original code", _CONVERT),
    (
        r"(.+\.)?encoder\.(patch_embeddings|block)\.\d",
        "a SegFormer in Hugging Face's format",
        "give it to architecture.encoder",
    ),
    (
        r"(.+\.)?(patch_embed\.proj|stages\.\d+\.(blocks|downsample)|blocks\.\d+\.(attn|norm)"
        r"|layers\.\d+\.blocks|layer1\.0\.|stem\.|conv_stem\.|cls_token|pos_embed)",
        "a backbone of timm or torchvision",
        "only SegFormer's Mix Transformers can be loaded: set architecture.encoder to "
        "nvidia/mit-b0 … nvidia/mit-b5",
    ),
    (r"(model_)?state_dict$", "a PyTorch checkpoint of another project", _ENCODERS),
)
"""Pattern of a tensor's name, what the file is, and what to do; the first that matches counts."""

_OUR_WEIGHTS = "use last.safetensors or best.safetensors in the folder of its training"


def foreign_format(path: str | Path) -> str:
    """Say which format a file or folder has, and what to do with it; "" if it is not known."""
    what, advice = _recognise(Path(path))
    return f"it is {what}; {advice or _OUR_WEIGHTS}." if what else ""


def first_line(error: BaseException) -> str:
    """First line of an error's message, of at most 200 characters; its type if there is none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].strip()


def _recognise(path: Path) -> tuple[str, str]:
    if path.is_dir():
        if (path / "saved_model.pb").is_file() or expand(path / "*.ckpt*.index"):
            return "a TensorFlow model", _ENCODERS
        return "", ""
    with path.open("rb") as file:
        start = file.read(512)
    for place, magic, what, advice in _STARTS:
        if start[place:].lower().startswith(magic.lower()):
            return what, advice
    names, container = _content(path, start)
    for pattern, what, advice in _LAYOUTS:
        if any(re.match(pattern, name) for name in names):
            return what, advice
    if container:
        return container, _ENCODERS
    known = (kind for suffixes, kind in _SUFFIXES.items() if path.suffix.lower() in suffixes)
    return next(known, ("", ""))


def _content(path: Path, start: bytes) -> tuple[set[str], str]:
    """Names of tensors and keys, and the container; nothing of other and of damaged files."""
    with suppress(Exception):  # damaged files fail in many ways
        if start.startswith(b"PK"):
            return _zip_content(path)
        if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
            with path.open("rb") as file:
                return set(_strings(file, pickles=5)), "a pickle of PyTorch or another program"
        if start[8:9] == b"{":
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(size, 100_000_000)))
            if "emu_model" not in header.pop("__metadata__", {}):  # else a damaged file of ours
                return set(header), "a .safetensors file of another project"
    return set(), ""


def _zip_content(path: Path) -> tuple[set[str], str]:
    with zipfile.ZipFile(path) as archive:
        files = archive.namelist()
        pickles = [name for name in files if name.endswith("/data.pkl")]
        if pickles:
            names = set(_strings(io.BytesIO(archive.read(pickles[0]))))
            script = any("/code/" in name for name in files)
            return names, "a TorchScript model" if script else "a PyTorch file of another project"
    if any(name.endswith(".npy") for name in files):
        return set(), "a NumPy archive"
    if any(name.endswith(".h5") for name in files):
        return set(), "a Keras model"
    return set(), "a zip archive of another project"


def _strings(file: IO[bytes], pickles: int = 1) -> Iterator[str]:
    """Yield the strings of a pickle, or of the pickles at the start of a file."""
    with suppress(Exception):  # a damaged file; the strings before the damage are enough
        for _ in range(pickles):
            for _, value, _ in itertools.islice(pickletools.genops(file), 1_000_000):
                if isinstance(value, str):
                    yield value
