"""Read and write the networks' weights.

`load_hugging_face` reads the format of `nvidia/mit-b*` and `nvidia/segformer-b*` strictly, by
name. Those weights are under NVIDIA's licence for non-commercial use: this project reads them when
a user asks for it, and never ships them.

`save_model` and `load_model` are for our own models: one safetensors file from which a model can
be rebuilt alone. Nothing here unpickles anything but tensors.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emu_core.files import replace_file
from emu_core.networks.hugging_face import HEAD, decoder_names, encoder_names, guess_variant
from emu_core.networks.models import DepthFormer, Network, SegDepthFormer, SegFormer

TRANSFORMERS_LAYER_NORM_EPS = 1e-5
"""What transformers runs every LayerNorm of a SegFormer with, whatever its config.json says.

The original code ran its patch embeddings' and key-value reductions' norms with 1e-5 as well, the
other norms with 1e-6.
"""

FILE_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where Hugging Face puts weights, in the order in which they are looked for."""

KINDS: dict[str, type[Network]] = {
    kind.__name__: kind for kind in (SegFormer, DepthFormer, SegDepthFormer)
}
FORMAT_VERSION = 1


class WeightsError(ValueError):
    """A file of weights is missing, unreadable, unsafe, or does not fit the network."""


class LoadReport(NamedTuple):
    """What a checkpoint gave to a network, by name."""

    loaded: tuple[str, ...]
    """Tensors of the network that were replaced."""
    kept: tuple[str, ...]
    """Tensors of the network that stay as they were initialised."""
    dropped: tuple[str, ...]
    """Tensors of the file that the network knowingly has no use for."""


def load_hugging_face(
    network: Network,
    source: str | Path,
    *,
    skip_head: bool = False,
    encoder_only: bool = False,
    layer_norm_eps: float = TRANSFORMERS_LAYER_NORM_EPS,
    revision: str | None = None,
) -> LoadReport:
    """Load weights in Hugging Face's SegFormer format into a network.

    An encoder's checkpoint (`nvidia/mit-b*`) fills the encoder; a whole SegFormer's
    (`nvidia/segformer-b*`) the segmentation decoder as well. A depth decoder stays as it is.
    Every tensor of the file and of the parts it fills must fit; otherwise nothing is changed.

    NVIDIA's weights are licensed for non-commercial use only.

    Args:
        network: the network to fill, in place.
        source: a folder, a file (.safetensors, .bin or their .index.json), or a hub id.
        skip_head: leave the segmentation decoder's last layer as it is, for other classes.
        encoder_only: leave the whole segmentation decoder as it is.
        layer_norm_eps: epsilon that the encoder's norms run with from now on.
        revision: branch, tag or commit on the hub.

    Raises:
        WeightsError: the source cannot be found or read, holds more than tensors, or lacks, adds
            or changes a tensor; the message names them.
    """
    path = _find(source, revision)
    tensors = _read(path)
    wanted, dropped = _plan(network, tensors, path, skip_head=skip_head, encoder_only=encoder_only)
    own = network.state_dict()
    _check(network, own, tensors, wanted, dropped, path)
    with torch.no_grad():
        for theirs, ours in wanted.items():
            own[ours].copy_(tensors[theirs])
    network.encoder.set_layer_norm_eps(layer_norm_eps)
    loaded = tuple(wanted.values())
    kept = tuple(name for name in own if name not in set(loaded))
    return LoadReport(loaded, kept, tuple(dropped))


def _plan(
    network: Network,
    tensors: dict[str, Tensor],
    path: Path,
    *,
    skip_head: bool,
    encoder_only: bool,
) -> tuple[dict[str, str], list[str]]:
    """Decide which name of the file goes where, and which are dropped knowingly."""
    # A bare SegformerModel is saved without the prefix.
    prefix = "segformer." if any(name.startswith("segformer.") for name in tensors) else ""
    names = encoder_names(network.encoder.sizes)
    wanted = {f"{prefix}encoder.{k}": f"encoder.{v}" for k, v in names.items()}
    # mit-b* carry the 1000 ImageNet classes' layer.
    dropped = [name for name in tensors if name in ("classifier.weight", "classifier.bias")]
    decoder = [name for name in tensors if name.startswith("decode_head.")]
    if not decoder:
        return wanted, dropped
    if encoder_only:
        return wanted, dropped + decoder
    if network.segmentation_decoder is None:
        raise WeightsError(
            f"{path} holds a segmentation decoder, which a {type(network).__name__} lacks. "
            "Pass `encoder_only=True` to load its encoder alone."
        )
    for theirs, ours in decoder_names().items():
        name = f"decode_head.{theirs}"
        if skip_head and name.startswith(HEAD):
            dropped += [name] if name in tensors else []
        else:
            wanted[name] = f"segmentation_decoder.{ours}"
    return wanted, dropped


def _check(
    network: Network,
    own: dict[str, Tensor],
    tensors: dict[str, Tensor],
    wanted: dict[str, str],
    dropped: list[str],
    path: Path,
) -> None:
    """Raise WeightsError unless file and plan match in every name, shape and type."""
    problems = []
    if missing := [name for name in wanted if name not in tensors]:
        problems.append("missing: " + _listed(missing))
    if unexpected := [name for name in tensors if name not in wanted and name not in dropped]:
        problems.append("unexpected: " + _listed(unexpected))
    both = [(tensors[k], own[v], k) for k, v in wanted.items() if k in tensors]
    shapes = [
        f"{name} is {tuple(theirs.shape)}, not {tuple(ours.shape)}"
        for theirs, ours, name in both
        if theirs.shape != ours.shape
    ]
    if shapes:
        problems.append("of another shape: " + _listed(shapes))
    types = [
        f"{name} is {theirs.dtype}"
        for theirs, ours, name in both
        if theirs.is_floating_point() != ours.is_floating_point()
    ]
    if types:
        problems.append("of another type: " + _listed(types))
    if not problems:
        return
    lines = [f"{path} does not fit a {type(network).__name__} {network.variant}:", *problems]
    variant = guess_variant({name: tuple(x.shape) for name, x in tensors.items()})
    if variant not in (None, network.variant):
        lines.append(f"The file looks like {variant}: build the network with variant={variant!r}.")
    elif shapes and all(shape.startswith(HEAD) for shape in shapes) and len(problems) == 1:
        lines.append(
            "The file was trained on another number of classes: pass `skip_head=True` to keep "
            f"the network's own last layer for {network.num_classes} classes."
        )
    raise WeightsError("\n  ".join(lines))


def _listed(names: list[str], limit: int = 12) -> str:
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


# --- finding and reading files -------------------------------------------------------------------


def _find(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in FILE_NAMES:
            if (path / name).is_file():
                return path / name
        raise WeightsError(f"Found no weights in {path}: looked for {', '.join(FILE_NAMES)}.")
    if len(path.parts) == 2 and not path.is_absolute():
        return _download(str(source), revision)
    raise WeightsError(
        f"Found no weights at {source}: give a folder, a file or a hub id such as nvidia/mit-b0."
    )


def _download(hub_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise WeightsError(
            f"{hub_id} is no folder here, and reading it from the hub needs another package: "
            "pip install huggingface_hub."
        ) from error
    try:
        for name in FILE_NAMES:
            try:
                path = Path(hf_hub_download(hub_id, name, revision=revision))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
            if path.suffix == ".json":
                for shard in sorted(set(_read_index(path).values())):
                    hf_hub_download(hub_id, shard, revision=revision)
            return path
    except WeightsError:
        raise
    except Exception as error:  # connection, permission, unknown id: the hub's own words say it
        raise WeightsError(
            f"Could not get {hub_id}, neither a folder here nor from the hub: {error}"
        ) from error
    raise WeightsError(f"Found no weights in {hub_id}: looked for {', '.join(FILE_NAMES)}.")


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".json":
        return read_tensors(path)
    index = _read_index(path)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(index.values())):
        if not (path.parent / shard).is_file():
            raise WeightsError(f"{path} names {shard}, which is not beside it.")
        tensors |= read_tensors(path.parent / shard)
    if set(index) != set(tensors):
        wrong = sorted(set(index) ^ set(tensors))
        raise WeightsError(f"{path} and its files disagree about {_listed(wrong)}.")
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    """Read which file holds which tensor; only files beside the index are accepted."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = [(str(tensor), str(file)) for tensor, file in index.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is no index of weights: {error!r}") from error
    for _, file in names:
        if Path(file).name != file or not file.endswith((".safetensors", ".bin")):
            raise WeightsError(f"{path} names {file!r}: expected a weights file beside the index.")
    return dict(names)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors or .bin file; WeightsError if it is damaged or holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path} was refused: it holds more than weights, or is damaged. {reason}"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(x, Tensor) for name, x in tensors.items()
    ):
        raise WeightsError(f"{path} is no table of named tensors.")
    return tensors


# --- our own models ------------------------------------------------------------------------------


def save_model(model: Network, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
    """Write a SegFormer, DepthFormer or SegDepthFormer into one safetensors file.

    Args:
        model: the model, not folded for inference.
        path: the file; replaced in one step, so that a reader never sees half of it.
        metadata: anything JSON can hold, handed back by `load_model`.

    Raises:
        WeightsError: the model is of another kind or folded for inference, or the metadata is
            nothing for JSON.
    """
    write_tensors(path, model.state_dict(), describe(model), metadata or {})


def describe(model: Network) -> dict[str, Any]:
    """Say what a model must be built with before its weights fit; see `build`.

    Raises:
        WeightsError: the model is of another kind or folded for inference.
    """
    kind = type(model).__name__
    if KINDS.get(kind) is not type(model):
        raise WeightsError(f"Expected one of {', '.join(KINDS)}, but got {kind}.")
    if model.is_folded:
        raise WeightsError("A model folded for inference cannot be saved: save the original.")
    return {
        "version": FORMAT_VERSION,
        "kind": kind,
        "variant": model.variant,
        "num_classes": model.num_classes,
        "dropout": model.dropout,
        "encoder_dropout": model.encoder_dropout,
        "drop_path": model.drop_path,
        "layer_norm_eps": model.encoder.layer_norm_eps,
    }


def build(header: Mapping[str, Any]) -> Network:
    """Build the untrained model that `describe` described; KeyError or ValueError on another."""
    kind = KINDS[header["kind"]]
    options = {k: header[k] for k in ("dropout", "drop_path", "layer_norm_eps")}
    options["encoder_dropout"] = header.get("encoder_dropout", 0.0)  # older files have none
    if kind is not DepthFormer:
        options["num_classes"] = header["num_classes"]
    return kind(header["variant"], **options)


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Write a safetensors file in one step; WeightsError unless JSON can hold the metadata."""
    try:
        texts = {"emu_model": json.dumps(header), "emu_metadata": json.dumps(metadata)}
    except (TypeError, ValueError) as error:
        raise WeightsError(f"Expected `metadata` that JSON can hold, but: {error}") from error
    plain = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    replace_file(path, lambda unfinished: save_file(plain, unfinished, texts))


def load_model(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Rebuild a model that `save_model` wrote, on the CPU and in eval mode, from its file alone.

    Returns:
        The model and the metadata that was saved with it.

    Raises:
        WeightsError: the file is missing, damaged, no EMU model, or of a newer format.
    """
    header, metadata = read_header(path)
    if "heads" in header:
        raise WeightsError(f"{path} holds {header['heads']} heads: read it as a sub-ensemble.")
    try:
        with torch.device("meta"):  # every tensor comes from the file
            model = build(header)
        model.load_state_dict(read_tensors(Path(path)), assign=True)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} is no model of this project: {error}") from error
    return model.eval(), metadata


def read_header(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what one of our files says of its model, and its metadata, without any weights.

    Raises:
        WeightsError: the file is missing, damaged, no EMU model, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"Found no model at {path}.")
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
        header = json.loads(texts["emu_model"])
        metadata = json.loads(texts["emu_metadata"])
        version = int(header["version"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is no model of this project: {error!r}") from error
    if version > FORMAT_VERSION:
        raise WeightsError(f"{path} has format {version}; this version reads {FORMAT_VERSION}.")
    return header, metadata
