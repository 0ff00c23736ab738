"""The methods that the study compares: images in, one Prediction out.

    method = load_method("de", ["m0.safetensors", "m1.safetensors", …], in_memory=True)
    prediction = method(images)                  # images uint8 (N, 3, H, W)

| kind                         | class         | files                                  |
|------------------------------|---------------|----------------------------------------|
| single, control, student     | SingleNetwork | one network                            |
| mcd                          | MCDropout     | one network, trained with its dropout  |
| dse                          | SubEnsemble   | one trunk with its heads               |
| de                           | DeepEnsemble  | one network per member                 |

All keep one order (arXiv 2402.10580; `prediction`): each sample's raw outputs are upsampled, then
come softmax, ReLU and softplus, then means and moments over the samples. Samples are added up one
by one, so memory does not grow with their number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.methods.registry import METHODS, LoadOptions, Method, MethodKind
from emu_core.methods.sub_ensemble import load_sub_ensemble
from emu_core.methods.uncertainty import RunningMoments
from emu_core.networks.decoder import AllMLPDecoder
from emu_core.networks.dropout import sampling
from emu_core.networks.models import Network, RawOutputs, normalize
from emu_core.networks.weights import load_model, read_header


class SingleNetwork:
    """One pass of one network, put into eval mode; also the EMUFormer student.

    Its depth variance stays in one piece: a student learns the sum of the teacher's two parts,
    and that cannot be split again.
    """

    def __init__(self, network: Network) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        """Predict for images, uint8 (N, 3, H, W)."""
        return to_prediction(self.network(_to_input(images)), _size(images))


class SampledMethod(ABC):
    """A method that averages samples: what MC Dropout and the ensembles have in common."""

    @abstractmethod
    def raw_outputs(self, x: Tensor) -> Iterator[RawOutputs]:
        """Compute the samples' raw outputs one by one from normalised images (N, 3, H, W)."""

    def samples(self, images: Tensor) -> Iterator[Prediction]:
        """Predict sample by sample for images, uint8 (N, 3, H, W): what `__call__` averages."""
        raws = self.raw_outputs(_to_input(images))
        while (sample := _next(raws, _size(images))) is not None:
            yield sample
            del sample  # or it would stay while the next one is computed

    def __call__(self, images: Tensor) -> Prediction:
        """Predict for images, uint8 (N, 3, H, W)."""
        return average(self.samples(images))


class MCDropout(SampledMethod):
    """Monte Carlo dropout (Gal & Ghahramani, ICML 2016) in a network trained with that dropout.

    The network's own rates and places count: `dropout` before the decoders' last layers,
    `encoder_dropout` in the encoder's blocks. BatchNorm and stochastic depth stay as in eval mode.
    Dropout in the decoders alone runs the encoder and all before the dropout once for all samples.

    Sample m's masks follow from `seed`, m and the images' size alone: an image gets the same
    answer in whatever batch and order, and all images the same thinned network.

    Raises:
        ValueError: fewer than one sample, a negative seed, or a network without dropout.
    """

    def __init__(self, network: Network, samples: int = 10, seed: int = 0) -> None:
        if samples < 1 or seed < 0:
            raise ValueError(
                "Expected `samples` of at least 1 and `seed` of at least 0, but got "
                f"{samples} and {seed}."
            )
        if network.is_folded or not (network.dropout or network.encoder_dropout):
            raise ValueError(
                "MC Dropout needs a network that was trained with dropout and is not folded for "
                f"inference, but this one has dropout={network.dropout}, encoder_dropout="
                f"{network.encoder_dropout}, folded {network.is_folded}."
            )
        self.network = network.eval()
        self.number, self.seed = samples, seed

    def raw_outputs(self, x: Tensor) -> Iterator[RawOutputs]:
        """Draw the samples; see `SampledMethod`."""
        draw = partial(self.network, x) if self.network.encoder_dropout else self._share(x)
        for m in range(self.number):
            generator = torch.Generator(x.device)
            generator.manual_seed(int(np.random.SeedSequence((self.seed, m)).generate_state(1)[0]))
            with sampling(self.network, generator):
                raw = draw()
            yield raw
            del raw

    def _share(self, x: Tensor) -> Callable[[], RawOutputs]:
        """Run all before the decoders' dropout, and return the function that runs the rest."""
        features = self.network.encoder(x)
        decoders = (self.network.segmentation_decoder, self.network.depth_decoder)
        fused = [(d, d.fuse_features(features)) for d in decoders if isinstance(d, AllMLPDecoder)]

        def draw() -> RawOutputs:
            outputs: dict[nn.Module, Tensor] = {d: d.read_out(maps) for d, maps in fused}
            return RawOutputs(*(None if d is None else outputs[d] for d in decoders))

        return draw


class SubEnsemble(SampledMethod):
    """Deep Sub-Ensemble (arXiv 1910.08168): one trunk, which runs once, and several heads.

    Args:
        networks: networks that share one encoder module; see `networks.sub_ensemble`.

    Raises:
        ValueError: there are none, or they have encoders of their own.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        if not networks or any(n.encoder is not networks[0].encoder for n in networks):
            raise ValueError(
                "Expected `networks` that share one encoder module, at least one, but got "
                f"{len(networks)} with {len({id(n.encoder) for n in networks})} encoders."
            )
        self.networks = [network.eval() for network in networks]

    def raw_outputs(self, x: Tensor) -> Iterator[RawOutputs]:
        """Run the trunk once and head by head; see `SampledMethod`."""
        features = self.networks[0].encoder(x)
        for network in self.networks:
            yield network.decode(features)


class DeepEnsemble(SampledMethod):
    """Deep Ensemble (Lakshminarayanan et al., NeurIPS 2017) of networks trained independently.

    Args:
        members: networks, which stay in memory, or their files, each of which is read anew at
            every call and dropped before the next one is read.

    Raises:
        WeightsError: a file is missing or is no model.
        ValueError: there are no members, or they do not predict the same things.
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
        self.members = [m.eval() if isinstance(m, Network) else Path(m) for m in members]

    def raw_outputs(self, x: Tensor) -> Iterator[RawOutputs]:
        """Run member by member; see `SampledMethod`."""
        for member in self.members:
            yield self._run(member, x)

    @staticmethod
    def _run(member: Network | Path, x: Tensor) -> RawOutputs:
        # In a function of its own, so that a member is gone before the next one is read.
        network = member if isinstance(member, Network) else load_model(member)[0].to(x.device)
        return network(x)


def average(samples: Iterable[Prediction]) -> Prediction:
    """Combine equally weighted samples: mean softmax, moments of the depth mixture.

    Depth's predictive variance is the mean of the samples' variances (aleatoric) plus the variance
    of their means (epistemic). Samples are taken one by one and not kept.

    Raises:
        ValueError: there is no sample, or they do not predict the same things.
    """
    total: Tensor | None = None
    moments, count = RunningMoments(), 0
    for sample in samples:
        count += 1
        has = sample.probabilities is not None, sample.depth_mean is not None
        if count > 1 and has != (total is not None, moments.count > 0):
            raise ValueError(f"Sample {count - 1} does not predict the same things as sample 0.")
        if sample.probabilities is not None:
            total = torch.zeros_like(sample.probabilities) if total is None else total
            total += sample.probabilities
        if sample.depth_mean is not None:
            assert sample.depth_variance is not None
            moments.add(sample.depth_mean, sample.depth_variance)
        del sample  # or it would stay while the next one is computed
    if count == 0:
        raise ValueError("Expected at least one sample to average, but got none.")
    probabilities = None if total is None else total / count
    if moments.count == 0:
        return Prediction(probabilities)
    depth = moments.compute()
    return Prediction(probabilities, depth.mean, depth.variance, depth.aleatoric, depth.epistemic)


def _load_single(paths: Sequence[Path], options: LoadOptions) -> Method:
    return SingleNetwork(load_model(paths[0])[0].to(options.device))


def _load_mc_dropout(paths: Sequence[Path], options: LoadOptions) -> Method:
    network = load_model(paths[0])[0].to(options.device)
    return MCDropout(network, options.samples, options.seed)


def _load_sub_ensemble(paths: Sequence[Path], options: LoadOptions) -> Method:
    return SubEnsemble([network.to(options.device) for network in load_sub_ensemble(paths[0])[0]])


def _load_ensemble(paths: Sequence[Path], options: LoadOptions) -> Method:
    if not options.in_memory:
        return DeepEnsemble(paths)
    return DeepEnsemble([load_model(path)[0].to(options.device) for path in paths])


METHODS.add("single", MethodKind("single network", _load_single, color="#777777"))
METHODS.add(
    "control",
    MethodKind(
        "control: student's training, no teacher", _load_single, "control", color="#b5651d"
    ),
)
METHODS.add("student", MethodKind("student", _load_single, "student", color="#d62728"))
METHODS.add("mcd", MethodKind("MC Dropout", _load_mc_dropout, draws_samples=True))
METHODS.add("dse", MethodKind("Deep Sub-Ensemble", _load_sub_ensemble, "heads", color="#009e73"))
METHODS.add(
    "de",
    MethodKind("Deep Ensemble", _load_ensemble, "members", takes_all_files=True, color="#111111"),
)


def move_to(method: Method, device: str | torch.device) -> None:
    """Move the networks that a method keeps in memory; what it reads anew goes to the images."""
    if isinstance(method, (SingleNetwork, MCDropout)):
        kept: list[Network] = [method.network]
    elif isinstance(method, SubEnsemble):
        kept = method.networks
    elif isinstance(method, DeepEnsemble):
        kept = [member for member in method.members if isinstance(member, Network)]
    else:
        kept = []
    for network in kept:
        network.to(device)


@torch.no_grad()
def _next(raws: Iterator[RawOutputs], size: tuple[int, int]) -> Prediction | None:
    # Gradients are off here, and not around a `yield`, where they would be for the caller too.
    raw = next(raws, None)
    return None if raw is None else to_prediction(raw, size)


def _to_input(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            "Expected `images` to be RGB, uint8 (N, 3, H, W), but got "
            f"{images.dtype} {tuple(images.shape)}."
        )
    return normalize(images)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _outputs(member: Network | str | Path) -> tuple[str, int | None]:
    """What a member predicts: kind of network and number of classes."""
    if isinstance(member, Network):
        return type(member).__name__, member.num_classes
    header, _ = read_header(member)
    return header["kind"], header["num_classes"]
