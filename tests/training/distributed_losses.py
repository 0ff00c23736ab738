"""All loss terms in two processes: `python distributed_losses.py RANK STORE`.

`test_losses` starts it. Each process has its part of a batch with very unequal ground truth.
"""

import math
import sys

import torch
import torch.distributed

from emu_core.labels import IGNORE
from emu_core.training.losses import cross_entropy, gaussian_nll, kl_divergence, l1, rmsle

TERMS = {
    "cross-entropy": lambda x, d: cross_entropy(x, d["labels"]),
    "kl": lambda x, d: kl_divergence(x, d["teacher"], d["mask"]),
    "kl of all pixels": lambda x, d: kl_divergence(x, d["teacher"], temperature=2),
    "gnll": lambda x, d: gaussian_nll(x[:, :1], x[:, 1:2].exp(), d["depth"]),
    "beta-nll": lambda x, d: gaussian_nll(x[:, :1], x[:, 1:2].exp(), d["depth"], 0.5),
    "l1": lambda x, d: l1(x[:, :1], d["depth"]),
    "rmsle": lambda x, d: rmsle(x[:, :1].exp(), d["depth"]),
}


def gradients(loss, *inputs):
    """Value and gradients of a loss."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def unequal_parts(share):
    """Student maps and targets of three images; `share` of the last two is valid."""
    g = torch.Generator().manual_seed(9)
    x = torch.randn(3, 19, 6, 10, generator=g)
    left = torch.rand(3, 6, 10, generator=g) < torch.tensor([0.9, share, share]).view(3, 1, 1)
    labels = torch.randint(0, 19, (3, 6, 10), generator=g).where(left, IGNORE)
    depth = (20 * torch.rand(3, 6, 10, generator=g)).where(left, math.nan)[:, None]
    teacher = torch.randn(x.shape, generator=g).softmax(1)
    return x, {"labels": labels, "mask": left, "depth": depth, "teacher": teacher}


def split(x, data):
    """The first image for one process, the other two for another."""
    return [
        (x[i], {name: value[i] for name, value in data.items()}) for i in (slice(1), slice(1, 3))
    ]


if __name__ == "__main__":
    rank, store = int(sys.argv[1]), sys.argv[2]
    x, data = unequal_parts(0.0)
    weight = torch.tensor(1.0)  # the one parameter that both processes share
    joint = {n: gradients(lambda w, f=f: f(w * x, data), weight)[1] for n, f in TERMS.items()}
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    z, part = split(x, data)[rank]
    for name, loss in TERMS.items():
        _, gradient = gradients(lambda w, loss=loss: loss(w * z, part), weight)
        torch.distributed.all_reduce(gradient)
        torch.testing.assert_close(gradient / 2, joint[name], rtol=1e-5, atol=1e-7)
    print("all equal")
