"""Read and write our own models: one safetensors file from which a model can be rebuilt.

`hugging_face` reads the files of others. Only tensors are read; nothing else is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emu_core.files import write_atomically
from emu_core.networks.formats import first_line, foreign_format
from emu_core.networks.models import DepthFormer, Network, SegDepthFormer, SegFormer

KINDS: dict[str, type[Network]] = {
    kind.__name__: kind for kind in (SegFormer, DepthFormer, SegDepthFormer)
}
FORMAT_VERSION = 1


class WeightsError(ValueError):
    """A weights file is missing, unreadable, unsafe, or does not match the network."""


def save_model(model: Network, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
    """Write a SegFormer, DepthFormer or SegDepthFormer into one safetensors file.

    Args:
        model: The model, not folded for inference.
        path: The file; it is replaced atomically.
        metadata: Anything that JSON can hold; `load_model` returns it.

    Raises:
        WeightsError: The model has another type or is folded for inference, or JSON cannot hold
            the metadata.
    """
    header = describe(model) | {"encoder": encoder_digest(model)}
    write_tensors(path, model.state_dict(), header, metadata or {})


def encoder_digest(model: Network) -> str:
    """SHA-256 of the encoder's weights; equal in networks that share one trunk."""
    digest = hashlib.sha256()
    for x in model.encoder.state_dict().values():
        digest.update(x.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def describe(model: Network) -> dict[str, Any]:
    """Return the options that `build` needs; WeightsError as in `save_model`."""
    kind = type(model).__name__
    if KINDS.get(kind) is not type(model):
        raise WeightsError(f"Expected one of {', '.join(KINDS)}, but got {kind}.")
    if model.is_folded:
        raise WeightsError("A model folded for inference cannot be saved: save the original.")
    names = ("variant", "num_classes", "dropout", "encoder_dropout", "drop_path")
    options = {name: getattr(model, name) for name in names}
    options["layer_norm_eps"] = model.encoder.layer_norm_eps
    if model.evidential:
        options["evidential"] = True
    return {"version": FORMAT_VERSION, "kind": kind, **options}


def build(header: Mapping[str, Any]) -> Network:
    """Build an untrained model from the options of `describe`.

    Raises:
        KeyError: An option is missing.
        ValueError: An option is invalid.
    """
    kind = KINDS[header["kind"]]
    options = {k: header[k] for k in ("dropout", "drop_path", "layer_norm_eps")}
    options["encoder_dropout"] = header.get("encoder_dropout", 0.0)  # missing in older files
    options["evidential"] = header.get("evidential", False)
    if kind is not DepthFormer:
        options["num_classes"] = header["num_classes"]
    return kind(header["variant"], **options)


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Write a safetensors file atomically; WeightsError if JSON cannot hold the metadata."""
    try:
        texts = {"emu_model": json.dumps(header), "emu_metadata": json.dumps(metadata)}
    except (TypeError, ValueError) as error:
        raise WeightsError(f"Expected `metadata` that JSON can hold, but: {error}") from error
    plain = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    write_atomically(path, lambda temporary: save_file(plain, temporary, texts))


def load_model(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Load a model that `save_model` wrote, on the CPU and in eval mode.

    Returns:
        The model and its metadata.

    Raises:
        WeightsError: The file is missing, damaged, no model of this project, or of a newer format.
    """
    header, metadata = read_header(path)
    if "heads" in header:
        raise WeightsError(
            f"{path} holds {header['heads']} heads of a sub-ensemble, not one network: use it as "
            "the method dse, or use member-0/last.safetensors beside it."
        )
    try:
        with torch.device("meta"):  # all tensors come from the file
            model = build(header)
        model.load_state_dict(read_tensors(Path(path)), assign=True)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path} is not a model of this project: {reason}") from error
    return model.eval(), metadata


def read_header(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the options and the metadata of a model without its weights; errors as `load_model`."""
    path = Path(path)
    if path.is_dir():
        reason = foreign_format(path) or "give the file last.safetensors of a training."
        raise WeightsError(f"{path} is a folder, not a model: {reason}")
    if not path.is_file():
        raise WeightsError(f"Found no model at {path}: check the path.")
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
        header, metadata = (dict(json.loads(texts[k])) for k in ("emu_model", "emu_metadata"))
        version = int(header["version"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        reason = foreign_format(path) or f"it is damaged ({first_line(error)}); get it again."
        raise WeightsError(f"{path} is not a model of this project: {reason}") from error
    if version > FORMAT_VERSION:
        raise WeightsError(f"{path} has format {version}; this version reads {FORMAT_VERSION}.")
    return header, metadata


def is_own_model(path: str | Path) -> bool:
    """Whether a file was written by `write_tensors`; it may be damaged or of a newer format."""
    try:
        with safe_open(path, "pt") as file:
            return "emu_model" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors or .bin file.

    The tensors are copies: those of the file's memory begin at any byte, and matrix products round
    differently there.

    Raises:
        WeightsError: The file is damaged or holds anything but named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return {name: x.clone() for name, x in load_file(path).items()}
        with warnings.catch_warnings():  # about files that are refused
            warnings.simplefilter("ignore")
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = other_layout(path) or first_line(error)
        raise WeightsError(
            f"{path} was refused: it holds more than weights, or is damaged: {reason}"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = other_layout(path) or f"it is damaged: {first_line(error)}"
        raise WeightsError(f"{path} cannot be read as weights: {reason}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(x, Tensor) for name, x in tensors.items()
    ):
        reason = other_layout(path) or "expected a file that holds nothing else."
        raise WeightsError(f"{path} is not a table of named tensors: {reason}")
    return tensors


def other_layout(path: Path) -> str:
    """Say which format a file has, unless it is Hugging Face's; "" if it is not known."""
    text = foreign_format(path)
    return "" if "Hugging Face's format" in text else text
