"""One trunk with many heads: the networks of a Deep Sub-Ensemble, and their file.

    first, _ = load_model("runs/member/last.safetensors")     # trunk + head 1, trained together
    second = with_new_heads(first)                            # then train its decoders alone
    save_sub_ensemble([first, second], "dse.safetensors")     # the trunk once, every head
    networks, metadata = load_sub_ensemble("dse.safetensors") # which share one encoder

The trunk is the encoder; a head is a network's decoder, or both of a SegDepthFormer (Valdenegro-
Toro, arXiv 1910.08168; arXiv 2405.17097).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from emu_core.networks.models import Network
from emu_core.networks.weights import (
    WeightsError,
    build,
    describe,
    read_header,
    read_tensors,
    write_tensors,
)

TRUNK = "encoder."


def with_new_heads(network: Network) -> Network:
    """Copy a network with newly initialised decoders and its encoder frozen, to train a head.

    Torch's global generator draws the decoders. The depth's first bias is `init_depth`'s to set.
    """
    fresh = build(describe(network))
    fresh.encoder.load_state_dict(network.encoder.state_dict())
    fresh.freeze_encoder()
    return fresh.to(next(network.parameters()).device)


def save_sub_ensemble(
    networks: Sequence[Network], path: str | Path, metadata: dict[str, Any] | None = None
) -> None:
    """Write networks that agree in every weight of their encoders: the trunk once, every head.

    Raises:
        WeightsError: there are none, they differ in kind, sizes or encoder, are folded for
            inference, or the metadata is nothing for JSON.
    """
    if not networks:
        raise WeightsError("Expected at least one network to save, but got none.")
    header, trunk = describe(networks[0]), networks[0].encoder.state_dict()
    tensors = {TRUNK + name: x for name, x in trunk.items()}
    for k, network in enumerate(networks):
        if describe(network) != header:
            raise WeightsError(f"Network {k} is built otherwise than network 0: {header}.")
        for name, x in network.state_dict().items():
            if not name.startswith(TRUNK):
                tensors[f"heads.{k}.{name}"] = x
            elif not torch.equal(x.cpu(), trunk[name.removeprefix(TRUNK)].cpu()):
                raise WeightsError(
                    f"Network {k} has another trunk than network 0: {name} differs. Train the "
                    "heads from `with_new_heads`, which keeps the trunk as it is."
                )
    write_tensors(path, tensors, header | {"heads": len(networks)}, metadata or {})


def load_sub_ensemble(path: str | Path) -> tuple[list[Network], dict[str, Any]]:
    """Rebuild what `save_sub_ensemble` wrote, on the CPU and in eval mode.

    Returns:
        Networks that share one encoder module, and the metadata.

    Raises:
        WeightsError: the file is missing, damaged, no sub-ensemble, or of a newer format.
    """
    header, metadata = read_header(path)
    if "heads" not in header:
        raise WeightsError(f"{path} holds no sub-ensemble but one network: use `load_model`.")
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
        raise WeightsError(f"{path} is no sub-ensemble of this project: {error}") from error
    return networks, metadata
