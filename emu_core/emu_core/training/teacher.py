"""Training the networks that a teacher consists of, one after the other, each resumable.

A Deep Ensemble's members differ in their seed: weights, order, augmentation and dropout. A Deep
Sub-Ensemble's heads differ likewise, on the trunk of the first one.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import lightning

from emu_core.networks import Network, load_model, save_sub_ensemble, with_new_heads
from emu_core.objectives import MemberLoss
from emu_core.training.cpu import prepare_cpu
from emu_core.training.learner import Optimisation
from emu_core.training.loader import training_loader, validation_loader
from emu_core.training.member import Member
from emu_core.training.recipe import Architecture, Data
from emu_core.training.run import Run, fit, write_config


def train_ensemble(
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    members: int,
    folder: Path,
) -> list[Path]:
    """Train the members of a Deep Ensemble, member k with seed run.seed + k.

    Returns:
        folder/member-K/last.safetensors of each; those that exist are not trained again.

    Raises:
        DataError: the data is missing or damaged.
        FloatingPointError: a loss diverged.
    """
    paths = []
    for k in range(members):
        own = replace(run, seed=run.seed + k)
        path = folder / f"member-{k}" / "last.safetensors"
        if not path.is_file():
            print(f"member {k} of {members}, seed {own.seed}: {path.parent}", flush=True)
            train_network(data, architecture, loss, optimisation, own, path.parent)
        paths.append(path)
    return paths


def train_sub_ensemble(
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    heads: int,
    folder: Path,
) -> Path:
    """Train a Deep Sub-Ensemble: trunk and head 0 together, then heads 1… on the frozen trunk.

    Returns:
        folder/sub_ensemble.safetensors; heads that exist in folder/member-K are not trained again.

    Raises:
        DataError: the data is missing or damaged.
        FloatingPointError: a loss diverged.
    """
    (first,) = train_ensemble(data, architecture, loss, optimisation, run, 1, folder)
    paths = [first]
    for k in range(1, heads):
        own = replace(run, seed=run.seed + k)
        path = folder / f"member-{k}" / "last.safetensors"
        if not path.is_file():
            print(f"head {k} of {heads}, seed {own.seed}: {path.parent}", flush=True)
            train_network(data, architecture, loss, optimisation, own, path.parent, trunk=first)
        paths.append(path)
    together = folder / "sub_ensemble.safetensors"
    save_sub_ensemble([load_model(path)[0] for path in paths], together)
    return together


def train_network(
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    folder: Path,
    trunk: Path | None = None,
) -> Network:
    """Train one network on ground truth; leaves what `run.fit` says in `folder`.

    Args:
        data: what to train on.
        architecture: which network.
        loss: kinds and weights of its terms.
        optimisation: optimiser and schedule.
        run: length, seed, precision.
        folder: of this run, with config.yaml.
        trunk: weights of a network whose encoder is taken over and stays as it is.
    """
    prepare_cpu(run.threads)
    lightning.seed_everything(run.seed, workers=True, verbose=False)
    samples, held_out = data.open_training(), data.open_validation()
    print(
        f"{len(samples)} training images from {data.root}, depth valid up to "
        f"{samples.max_depth:g} m"
    )
    loader = training_loader(
        samples, data.augmentation, data.batch, run.steps, run.seed, data.workers
    )
    validation = validation_loader(held_out, data.augmentation, data.batch)
    num_classes = len(samples.classes)
    if trunk is None:
        network = architecture.build(num_classes, samples, data.augmentation)
    else:
        network = with_new_heads(load_model(trunk)[0])
        if network.depth_decoder is not None:
            architecture.start_depth(network, samples, data.augmentation)
    member = Member(
        network, optimisation, loss, num_classes, samples.max_depth, run.seed, run.shares_every
    )
    config = {"data": asdict(data), "architecture": asdict(architecture), "loss": asdict(loss),
              "optimisation": asdict(optimisation), "run": asdict(run)}  # fmt: skip
    write_config(folder, config)
    fit(member, loader, validation, run, folder, samples.classes, data.batch)
    return network
