"""How much the samples of a method, such as the members of an ensemble, differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from emu_core.methods.base import SampledMethod
from emu_core.methods.uncertainty import RunningMoments, predictive_entropy


def disagreement(method: SampledMethod, batches: Iterable[Tensor]) -> dict[str, float]:
    """Measure the disagreement over all pixels of some images.

    Args:
        method: Method with two samples or more.
        batches: Images, uint8 (N, 3, H, W).

    Returns:
        For the tasks that the method has:
        `labels`: mean share of pairs of samples that predict different classes, 0…1;
        `mutual_information`: entropy of the mean minus mean of the entropies, nats;
        `information_share`: the mutual information over the entropy of the mean, 0…1;
        `epistemic_share`: variance of the samples' depths over the predictive variance, each
        summed over all pixels, 0…1.
        A share of nothing is NaN: of pairs of a single sample, of an entropy or a variance of 0.
    """
    sums: dict[str, float] = defaultdict(float)

    def add(name: str, values: Tensor) -> None:
        sums[name] += float(values.double().sum())

    for images in batches:
        labels: list[Tensor] = []
        total, entropies, moments = None, None, RunningMoments()
        for sample in method.samples(images):
            if (p := sample.probabilities) is not None:
                labels.append(p.argmax(1).to(torch.uint8))  # (N, H, W)
                total = p if total is None else total + p
                entropy = predictive_entropy(p)
                entropies = entropy if entropies is None else entropies + entropy
            if sample.depth_mean is not None and sample.depth_variance is not None:
                moments.add(sample.depth_mean, sample.depth_variance)
        if total is not None and entropies is not None:
            count = len(labels)
            entropy_of_mean = predictive_entropy(total / count)
            add("pixels", torch.ones_like(entropy_of_mean))
            add("labels", _differing_pairs(torch.stack(labels)))
            add("information", entropy_of_mean - entropies / count)
            add("entropy", entropy_of_mean)
        if moments.count:
            depth = moments.compute()
            add("epistemic", depth.epistemic)
            add("variance", depth.variance)
    metrics = {}
    if "pixels" in sums:
        metrics["labels"] = sums["labels"] / sums["pixels"]
        metrics["mutual_information"] = sums["information"] / sums["pixels"]
        metrics["information_share"] = _ratio(sums["information"], sums["entropy"])
    if "variance" in sums:
        metrics["epistemic_share"] = _ratio(sums["epistemic"], sums["variance"])
    return metrics


def _differing_pairs(labels: Tensor) -> Tensor:
    """Share of the pairs of samples that differ, (N, H, W), from their labels (M, N, H, W)."""
    count = len(labels)
    different = torch.zeros(labels.shape[1:], device=labels.device)
    for i in range(count):
        different += (labels[i] != labels[:i]).sum(dim=0)
    return different / (count * (count - 1) / 2)  # NaN for a single sample


def _ratio(part: float, total: float) -> float:
    return part / total if total else float("nan")
