"""Deep Ensembles, and Packed-Ensembles of narrower members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from emu_core.methods.base import SampledMethod
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.networks.learned import check_independent
from emu_core.networks.models import AnyOutputs, Network
from emu_core.networks.weights import load_model, read_header


class DeepEnsemble(SampledMethod):
    """Deep Ensemble (Lakshminarayanan et al., NeurIPS 2017) of networks trained independently.

    Args:
        members: Networks, which stay in memory, or their files. At every call, each file is read
            again and released before the next one is read.

    Raises:
        WeightsError: A file is missing or contains no model.
        ValueError: There are no members, or they do not predict the same tasks.
    """

    def __init__(self, members: Sequence[Network | str | Path]) -> None:
        if not members:
            raise ValueError("Expected at least one member of a Deep Ensemble, but got none.")
        outputs = [_outputs(member) for member in members]
        for k, output in enumerate(outputs):
            if output != outputs[0]:
                raise ValueError(
                    f"Expected members of one kind, but member 0 is {outputs[0]} and member {k} "
                    f"{output}."
                )
        super().__init__([member for member in members if isinstance(member, Network)])
        self.members = [m if isinstance(m, Network) else Path(m) for m in members]

    def raw_outputs(self, x: Tensor) -> Iterator[AnyOutputs]:
        for member in self.members:
            yield _run(member, x)


def _run(member: Network | Path, x: Tensor) -> AnyOutputs:
    # A separate function, so that a member leaves memory before the next one is read.
    network = member if isinstance(member, Network) else load_model(member)[0].to(x.device)
    return network(x)


def _outputs(member: Network | str | Path) -> tuple[str, int | None]:
    if isinstance(member, Network):
        return type(member).__name__, member.num_classes
    header, _ = read_header(member)
    return header["kind"], header["num_classes"]


def _load(paths: Sequence[Path], options: LoadOptions) -> DeepEnsemble:
    check_independent(paths)
    if not options.in_memory:
        return DeepEnsemble(paths)
    return DeepEnsemble([load_model(path)[0].to(options.device) for path in paths])


METHODS.add(
    "de", MethodKind("Deep Ensemble", _load, "members", takes_all_files=True, color="#111111")
)
# A Packed-Ensemble (Laurent et al., ICLR 2023) with γ = 1 consists of independent networks, each
# α/M as wide as one network; it computes them with grouped convolutions, which changes only the
# speed. With α = 2 and M = 4, the four together have as many parameters as one network.
METHODS.add("packed", MethodKind("Packed-Ensemble", _load, "members", takes_all_files=True))
