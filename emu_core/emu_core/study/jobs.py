"""Run one job of a study in a separate process. The workflow calls this command.

    python -m emu_core.study.jobs runs/study few/joint/member-0

The study's configuration is read from FOLDER/study.yaml.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from emu_core.evaluation.candidate import Store
from emu_core.evaluation.fitting.beside import fit_beside
from emu_core.evaluation.score import score_missing
from emu_core.evaluation.splits import Split, as_batch
from emu_core.evaluation.timing import time_missing
from emu_core.files import digest, locked, read_json, without_nan, write_atomically, write_json
from emu_core.methods.base import SampledMethod
from emu_core.methods.disagreement import disagreement
from emu_core.methods.registry import LoadOptions, load_method
from emu_core.study.config import AT, Study, study_method
from emu_core.study.copies import FOR_TRAINING, copy_drives
from emu_core.study.plan import COPIES, DATA, Job, Scoring, Training, make_plan
from emu_core.terminal import accept_any_text
from emu_core.training.command import (
    parse_config,
    prepare_cpu,
    require_training_space,
    run_command,
)
from emu_core.training.config import StudentConfig
from emu_core.training.distillation import train_student
from emu_core.training.run import WEIGHTS
from emu_core.training.teacher import train_network, train_sub_ensemble

SETTINGS = "study.yaml"
"""Complete configuration, in the study's folder."""

RECORD, FAILURE = "training.json", "failed.json"
"""What a training was started with, and why it diverged; in its folder."""

_COMPARED_IMAGES = 48
"""Images of a split that the members' disagreement is measured on."""


class StudyError(ValueError):
    """A study's folder does not match its configuration; the message gives the remedy."""


def open_splits(study: Study) -> dict[str, Split]:
    """Open the splits that methods are scored on, by their names in the tables.

    Raises:
        DataError: The data is missing.
    """
    root = study.folder / DATA / "drives" if study.copies else study.data.root
    data = replace(study.data, root=root)
    return {name: Split(data, split) for name, split in study.splits.items()}


def check_inputs(study: Study, plan: Iterable[Job]) -> None:
    """Check, before hours of work, that every split is there and that the networks fit on disk.

    Raises:
        DataError: Data is missing.
        OSError: There is too little disk space.
    """
    root = study.data.root
    if study.copies is not None:
        copied = (study.folder / DATA / FOR_TRAINING).is_file()
        root = study.folder / DATA / "drives" if copied else study.copies.source
    data = replace(study.data, root=root)
    data.open_training(), data.open_validation()
    for split in study.splits.values():
        data.open(split)
    trainings = [job for job in plan if isinstance(job, Training)]
    networks = [job.config for job in trainings for _ in range(max(job.heads, 1))]
    require_training_space(study.folder, networks)


def store_of(study: Study, regime: str) -> Store:
    """Return the store of a regime's scores."""
    return Store(study.folder / regime / "evaluation", study.resamples)


def run_job(key: str, study: Study, plan: Mapping[str, Job]) -> None:
    """Run one job.

    Raises:
        DataError: An image or its ground truth is missing or damaged.
        WeightsError: A network is missing or damaged.
        FloatingPointError: A training diverged.
        StudyError: The folder holds a training with other settings.
    """
    job, device = plan[key], "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(job, Training):
        _train(job, study)
    elif isinstance(job, Scoring):
        _score(job, study, device)
    elif key == COPIES:
        assert study.copies is not None
        count = copy_drives(study.copies, job.settings["splits"], study.folder / DATA)
        print(f"{count} frames copied to {study.folder / DATA}")
    else:
        scorings = [plan[k] for k in job.needs if (study.folder / plan[k].output).is_file()]
        timed = []
        for scoring in scorings:
            if isinstance(scoring, Scoring):
                _, variant = study.backbone_of(scoring.regime)
                name = scoring.candidate.name + (AT + variant if variant else "")
                timed.append(replace(scoring.candidate, name=name))
        first = next(iter(open_splits(study).values()))
        time_missing(timed, first, study.folder / job.output, device)


def _score(job: Scoring, study: Study, device: str) -> None:
    opened = open_splits(study)
    splits = {name: opened[name] for name in job.settings["splits"]}
    candidate, method = job.candidate, study_method(job.method)
    for weights in candidate.files:
        fit_beside(candidate.kind, weights)
    score_missing([candidate], splits, store_of(study, job.regime), device)
    result: dict[str, Any] = {"weights": candidate.fingerprint()}
    if method.kind in ("de", "packed") and not method.leaves_out and not candidate.depth_paths:
        ensemble = candidate.load(device)
        assert isinstance(ensemble, SampledMethod)
        result["disagreement"] = {
            name: disagreement(ensemble, (as_batch(v, device) for v in s.some(_COMPARED_IMAGES)))
            for name, s in splits.items()
        }
    write_json(study.folder / job.output, without_nan(result))


def _train(job: Training, study: Study) -> None:
    target = study.folder / job.key
    _prepare_folder(job, study)
    try:
        if job.trunk is not None:
            copy = partial(shutil.copyfile, study.folder / job.trunk / WEIGHTS)
            write_atomically(target / "member-0" / WEIGHTS, copy)
            train_sub_ensemble(job.config, job.heads, target)
        elif isinstance(job.config, StudentConfig):
            members = [study.folder / key / WEIGHTS for key in job.teacher]
            teacher = load_method("de", members, LoadOptions(in_memory=True))
            train_student(job.config, target, teacher, digest(members))
        else:
            train_network(job.config, target)
    except FloatingPointError as error:
        write_json(target / FAILURE, {"reason": str(error)})
        raise


def _prepare_folder(job: Training, study: Study) -> None:
    """Record the initial weights of a training; delete results that began with other weights."""
    folder = study.folder
    target = folder / job.key
    if reason := changed_settings(job, folder):
        raise StudyError(f"{target} {reason}.")
    copies = folder / DATA / FOR_TRAINING
    inputs = {key: copies if key == COPIES else folder / key / WEIGHTS for key in job.needs}
    digests = {key: digest([path]) for key, path in inputs.items()}
    record = {"settings": job.settings, "inputs": digests}
    before = read_json(target / RECORD)
    if before is not None and before["inputs"] != digests:
        print(f"{target} was trained from other weights or data: deleted")
        shutil.rmtree(target)
    (target / FAILURE).unlink(missing_ok=True)
    write_json(target / RECORD, record)


def changed_settings(job: Job, folder: Path) -> str | None:
    """Say which settings differ from those in a training's folder; None if none do."""
    before = (read_json(folder / job.key / RECORD) or {}).get("settings")
    if before is None:
        return None
    changed = [
        f"{name}: {before[name]} → {value}"
        for name, value in job.settings.items()
        # A training from before an option existed did what is now the option's default.
        if name in before and before[name] != value
    ]
    named = "; ".join(changed[:4])
    return f"was trained with other settings ({named})" if changed else None


@contextmanager
def one_gpu() -> Iterator[None]:
    """Use a GPU that no other job on this machine uses; share one if all are in use."""
    count = torch.cuda.device_count()
    if count < 2:
        yield
        return
    every = ",".join(map(str, range(count)))
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", every).split(",")
    locks = Path(tempfile.gettempdir()) / f"emu-study-{os.getuid()}"
    with ExitStack() as held:
        free = (g for g in gpus if held.enter_context(locked(locks / f"gpu-{g}", wait=False)))
        os.environ["CUDA_VISIBLE_DEVICES"] = next(free, gpus[os.getpid() % len(gpus)])
        yield


def main(folder: str, key: str) -> None:
    """Run the job that the command line names."""
    accept_any_text()
    study = parse_config(Study, ["--config", f"{folder}/{SETTINGS}"], "")
    plan = {job.key: job for job in make_plan(study)}
    prepare_cpu(study.run.threads)
    # A process of a killed workflow may still be at this job: wait for it.
    with locked(study.folder / "locks" / key.replace("/", "-")), one_gpu():
        run_job(key, study, plan)


if __name__ == "__main__":
    sys.exit(run_command("study", partial(main, *sys.argv[1:])))
