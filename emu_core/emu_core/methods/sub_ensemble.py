"""Deep Sub-Ensembles: one trunk with several heads, and their file.

The trunk is the encoder; a head is a network's decoder, or both of a SegDepthFormer (Valdenegro-
Toro, arXiv 1910.08168; arXiv 2405.17097).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emu_core.methods.base import SampledMethod
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.models import AnyOutputs, Network
from emu_core.networks.weights import (
    WeightsError,
    build,
    describe,
    encoder_digest,
    read_header,
    read_tensors,
    write_tensors,
)

TRUNK = "encoder."


class SubEnsemble(SampledMethod):
    """Deep Sub-Ensemble (arXiv 1910.08168): the trunk runs once for all heads.

    Raises:
        ValueError: There are no networks, or they have different encoder modules.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        if not networks or any(n.encoder is not networks[0].encoder for n in networks):
            raise ValueError(
                "Expected `networks` that share one encoder module, at least one, but got "
                f"{len(networks)} with {len({id(n.encoder) for n in networks})} encoders."
            )
        super().__init__(networks)

    def raw_outputs(self, x: Tensor) -> Iterator[AnyOutputs]:
        features = self.networks[0].encoder(x)
        for network in self.networks:
            yield network.decode(features)


def with_new_heads(network: Network) -> Network:
    """Copy a network with random decoders and a frozen encoder, to train a head.

    The decoders' weights are drawn from torch's global generator; `init_depth` is not called.
    """
    copy = build(describe(network))
    copy.encoder.load_state_dict(network.encoder.state_dict())
    copy.freeze_encoder()
    return copy.to(next(network.parameters()).device)


def save_sub_ensemble(
    networks: Sequence[Network], path: str | Path, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write the common encoder of some networks once, and the decoders of each.

    Args:
        networks: The networks.
        path: The file; it is replaced atomically.
        metadata: As for `save_model`.

    Raises:
        WeightsError: There are no networks, they differ in kind, sizes or encoder weights, or they
            are folded for inference.
    """
    if not networks:
        raise WeightsError("Expected at least one network to save, but got none.")
    header, trunk = describe(networks[0]), networks[0].encoder.state_dict()
    tensors = {TRUNK + name: x for name, x in trunk.items()}
    for k, network in enumerate(networks):
        if describe(network) != header:
            raise WeightsError(f"Network {k} is built differently from network 0: {header}.")
        for name, x in network.state_dict().items():
            if not name.startswith(TRUNK):
                tensors[f"heads.{k}.{name}"] = x
            elif not torch.equal(x.cpu(), trunk[name.removeprefix(TRUNK)].cpu()):
                raise WeightsError(
                    f"Network {k} has another trunk than network 0: {name} differs. Train the "
                    "heads from `with_new_heads`, which freezes the trunk."
                )
    header |= {"heads": len(networks), "encoder": encoder_digest(networks[0])}
    write_tensors(path, tensors, header, metadata or {})


def load_sub_ensemble(path: str | Path) -> list[Network]:
    """Load the networks of a sub-ensemble, which share one encoder module, on the CPU.

    Raises:
        WeightsError: The file is missing or damaged, holds no sub-ensemble, or has a newer format.
    """
    header, _ = read_header(path)
    if "heads" not in header:
        raise WeightsError(f"{path} holds one network, not a sub-ensemble: use it as single.")
    tensors = read_tensors(Path(path))
    trunk = {name: x for name, x in tensors.items() if name.startswith(TRUNK)}
    networks: list[Network] = []
    try:
        for k in range(int(header["heads"])):
            prefix = f"heads.{k}."
            head = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
            with torch.device("meta"):  # every tensor comes from the file
                network = build(header)
            network.load_state_dict(trunk | head, assign=True)
            if networks:
                network.encoder = networks[0].encoder
            networks.append(network.eval())
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} is not a sub-ensemble of this project: {error}") from error
    return networks


def _load(paths: Sequence[Path], options: LoadOptions) -> SubEnsemble:
    return SubEnsemble([network.to(options.device) for network in load_sub_ensemble(paths[0])])


METHODS.add("dse", MethodKind("Deep Sub-Ensemble", _load, "heads", color="#009e73"))
