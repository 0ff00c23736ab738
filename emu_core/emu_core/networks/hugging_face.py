"""Load SegFormer weights from Hugging Face files, from disk or from the hub.

NVIDIA's `mit-b*` and `segformer-b*` are licensed for non-commercial use: this project reads them
on request, and never ships them. Only tensors are read; nothing else is unpickled.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from emu_core.networks.encoder import REDUCTIONS, Variant, recognize_variant
from emu_core.networks.formats import first_line, foreign_format
from emu_core.networks.models import Network
from emu_core.networks.weights import WeightsError, other_layout, read_tensors

LAYER_NORM_EPS = 1e-5
"""Epsilon of every LayerNorm of SegFormer in transformers, whatever config.json says.

In the original code the norms of patch embeddings and key-value reductions had 1e-5, too; the
others had 1e-6.
"""

FILE_NAMES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Names of weights files, in the order of the search."""

HEAD = "decode_head.classifier"
"""Last layer of the segmentation decoder; its size depends on the classes."""

# Layers in the files of `nvidia/mit-b*` and `nvidia/segformer-b*` → layers in our networks.
# Transformers 5 has other names in memory, but saves these.
_BLOCK = {
    "layer_norm_1": "norm1",
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "layer_norm_2": "norm2",
    "mlp.dense1": "ffn.linear1",
    "mlp.dwconv.dwconv": "ffn.depthwise",
    "mlp.dense2": "ffn.linear2",
}
_REDUCTION = {
    "attention.self.sr": "attention.reduce",
    "attention.self.layer_norm": "attention.reduce_norm",
}


class LoadReport(NamedTuple):
    """Names of tensors after a checkpoint was loaded into a network."""

    loaded: tuple[str, ...]
    """Tensors of the network that were replaced."""
    kept: tuple[str, ...]
    """Tensors of the network that keep their first values."""
    dropped: tuple[str, ...]
    """Tensors of the file that the network has no use for."""


def load_hugging_face(
    network: Network, source: str | Path, *, encoder_only: bool = False
) -> LoadReport:
    """Load weights in Hugging Face's SegFormer format into a network.

    A checkpoint of an encoder (`nvidia/mit-b*`) fills the encoder, that of a SegFormer
    (`nvidia/segformer-b*`) also the segmentation decoder. A depth decoder is not changed. Every
    tensor of the file must match; otherwise nothing is changed.

    Args:
        network: Network that is changed in place.
        source: A folder, a file (.safetensors, .bin or their .index.json), or a hub id.
        encoder_only: Do not load the segmentation decoder.

    Raises:
        WeightsError: The source is missing or unreadable, holds more than tensors, or has missing,
            unexpected or different tensors; the message names them.
    """
    path = _find(source)
    tensors = _read(path)
    wanted, dropped = _plan(network, tensors, path, encoder_only)
    own = network.state_dict()
    both = [(name, tensors[name], own[ours]) for name, ours in wanted.items() if name in tensors]
    shapes = [(n, tuple(x.shape), tuple(y.shape)) for n, x, y in both if x.shape != y.shape]
    types = [(n, x) for n, x, y in both if x.is_floating_point() != y.is_floating_point()]
    problems = {
        "missing": [name for name in wanted if name not in tensors],
        "unexpected": [name for name in tensors if name not in wanted and name not in dropped],
        "of another shape": [f"{name} is {theirs}, not {ours}" for name, theirs, ours in shapes],
        "of another type": [f"{name} is {x.dtype}" for name, x in types],
    }
    if any(problems.values()):
        if foreign := other_layout(path):
            raise WeightsError(f"{path} is not in Hugging Face's SegFormer format: {foreign}")
        raise WeightsError(_explain(network, tensors, problems, path))
    with torch.no_grad():
        for _, theirs, ours in both:
            ours.copy_(theirs)
    network.encoder.set_layer_norm_eps(LAYER_NORM_EPS)
    loaded = tuple(wanted.values())
    return LoadReport(loaded, tuple(n for n in own if n not in set(loaded)), tuple(dropped))


def _plan(
    network: Network, tensors: dict[str, Tensor], path: Path, encoder_only: bool
) -> tuple[dict[str, str], list[str]]:
    """Map names in the file to names in the network, and list the names to drop."""
    # A SegformerModel without a decoder is saved without the prefix.
    prefix = "segformer." if any(name.startswith("segformer.") for name in tensors) else ""
    names = encoder_names(network.encoder.sizes)
    wanted = {f"{prefix}encoder.{k}": f"encoder.{v}" for k, v in names.items()}
    # mit-b* have a layer for the 1000 classes of ImageNet.
    dropped = [name for name in tensors if name in ("classifier.weight", "classifier.bias")]
    decoder = [name for name in tensors if name.startswith("decode_head.")]
    if encoder_only or not decoder:
        return wanted, dropped + decoder
    if network.segmentation_decoder is None:
        raise WeightsError(
            f"{path} holds a segmentation decoder, which a {type(network).__name__} does not "
            "have. Pass `encoder_only=True` to load only its encoder."
        )
    names = _decoder_names()
    wanted |= {f"decode_head.{k}": f"segmentation_decoder.{v}" for k, v in names.items()}
    return wanted, dropped


def _explain(
    network: Network, tensors: dict[str, Tensor], problems: dict[str, list[str]], path: Path
) -> str:
    found = {problem: names for problem, names in problems.items() if names}
    lines = [f"{path} does not match a {type(network).__name__} {network.variant}:"]
    lines += [f"{problem}: {_listed(names)}" for problem, names in found.items()]
    embeddings = [x for name, x in tensors.items() if name.endswith("embeddings.0.proj.weight")]
    pattern = r"(?:^|\.)encoder\.block\.(\d)\.(\d+)\."
    variant = recognize_variant(tensors, pattern, len(embeddings[0]) if embeddings else 0)
    if variant not in (None, network.variant):
        lines.append(f"The file looks like {variant}: build the network with variant={variant!r}.")
    elif list(found) == ["of another shape"] and all(
        name.startswith(HEAD) for name in found["of another shape"]
    ):
        lines.append(
            "The file was trained on another number of classes: pass `encoder_only=True` to load "
            "only its encoder."
        )
    return "\n  ".join(lines)


def _listed(names: list[str], limit: int = 12) -> str:
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def encoder_names(variant: Variant) -> dict[str, str]:
    """Map names after the file's `encoder.` to names after ours."""
    layers = {}
    for stage, depth in enumerate(variant.depths):
        layers[f"patch_embeddings.{stage}.proj"] = f"stages.{stage}.embed"
        layers[f"patch_embeddings.{stage}.layer_norm"] = f"stages.{stage}.embed_norm"
        layers[f"layer_norm.{stage}"] = f"stages.{stage}.norm"
        parts = _BLOCK | (_REDUCTION if REDUCTIONS[stage] > 1 else {})
        for block in range(depth):
            for theirs, ours in parts.items():
                layers[f"block.{stage}.{block}.{theirs}"] = f"stages.{stage}.blocks.{block}.{ours}"
    return _tensors(layers)


def _decoder_names() -> dict[str, str]:
    """Map names after the file's `decode_head.` to names in our segmentation decoder."""
    layers = {f"linear_c.{stage}.proj": f"projections.{stage}" for stage in range(4)}
    layers |= {"batch_norm": "norm", "classifier": "head"}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {
        **_tensors(layers),
        "linear_fuse.weight": "fuse.weight",
        **{f"batch_norm.{name}": f"norm.{name}" for name in statistics},
    }


def _tensors(layers: dict[str, str]) -> dict[str, str]:
    kinds = ("weight", "bias")
    return {f"{theirs}.{x}": f"{ours}.{x}" for theirs, ours in layers.items() for x in kinds}


def _find(source: str | Path) -> Path:
    path = Path(os.path.expanduser(source))
    if path.is_file():
        return path
    if not path.is_dir():
        if len(path.parts) != 2 or path.is_absolute():
            raise WeightsError(
                f"Found no weights at {source}: give a folder, a file or a hub id such as "
                "nvidia/mit-b0."
            )
        return _download(str(source))
    if (file := _weights_in(path)) is not None:
        return file
    reason = foreign_format(path) or f"looked for {', '.join(FILE_NAMES)}."
    raise WeightsError(f"Found no weights in {source}: {reason}")


def _weights_in(folder: Path) -> Path | None:
    """Return the first weights file of a folder; an incomplete one comes last."""
    found = [folder / name for name in FILE_NAMES if (folder / name).is_file()]
    return next((path for path in found if _has_all_parts(path)), found[0] if found else None)


def _has_all_parts(path: Path) -> bool:
    if path.suffix != ".json":
        return True
    with suppress(WeightsError):
        return all((path.parent / name).is_file() for name in _read_index(path).values())
    return False


def _download(hub_id: str) -> Path:
    """Return the weights of a hub id, downloaded or, without a connection, from the hub's cache.

    Files of the second kind are only downloaded if there are none of the first. A cache may hold
    only those of the second: then the hub's client fails for the first.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            f"{hub_id} is not a folder, and reading it from the hub needs another package: "
            "pip install huggingface_hub."
        ) from error
    problem: Exception | None = None
    for pattern in ("model*.safetensors*", "pytorch_model*.bin*"):
        try:
            folder = Path(snapshot_download(hub_id, allow_patterns=pattern))
        except Exception as error:  # connection, permission, unknown id: the message explains it
            problem = problem or error
            continue
        if (file := _weights_in(folder)) is not None and _has_all_parts(file):
            return file
    if problem is not None:
        raise WeightsError(
            f"Could not download {hub_id} from the hub, and its cache holds no complete weights: "
            f"{first_line(problem)}"
        ) from problem
    raise WeightsError(f"Found no weights in {hub_id}: looked for {', '.join(FILE_NAMES)}.")


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".json":
        return read_tensors(path)
    index = _read_index(path)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(index.values())):
        if not (path.parent / shard).is_file():
            raise WeightsError(f"{path} names {shard}, which is not in the same folder.")
        tensors |= read_tensors(path.parent / shard)
    if set(index) != set(tensors):
        wrong = sorted(set(index) ^ set(tensors))
        raise WeightsError(f"{path} and its files disagree about {_listed(wrong)}.")
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    """Read which file holds which tensor; only files in the same folder are accepted."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = {str(tensor): str(file) for tensor, file in index.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not an index of weights: {error!r}") from error
    for file in names.values():
        if Path(file).name != file or not file.endswith((".safetensors", ".bin")):
            raise WeightsError(f"{path} names {file!r}: expected a weights file in its folder.")
    return names
