"""`training/train_teacher.py` as a researcher starts it, on a few tiny frames."""

import csv
import os
import re
import shutil
import signal
import sys

import pytest
import torch

from emu_core.labels import CITYSCAPES
from emu_core.methods.registry import load_method
from emu_core.methods.sub_ensemble import load_sub_ensemble
from emu_core.networks import load_model
from emu_core.networks.weights import read_header
from emu_core.training import run as running
from emu_core.training import teacher
from emu_core.training.callbacks import LastCheckpoint
from emu_core.training.run import read_settings

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")


FRAMES = [
    (split, f"drive0001_{i:06d}_000000")
    for split, count in (("train", 5), ("val", 3))  # validation has two batches
    for i in range(count)
]


OPTIONS = {
    "data.root": "data",
    "data.batch": 2,
    "data.workers": 0,
    "data.augmentation.height": 64,
    "data.augmentation.width": 128,
    "data.augmentation.canonical_focal": 100.0,
    "data.augmentation.flip": True,
    "run.name": "tiny",
    "run.steps": 4,
    "run.precision": "32-true",
    "run.ema": 0.5,
    "run.validate_every": 2,
    "run.threads": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder, in which the command works."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield folder


@pytest.fixture(scope="module")
def train(load_command, folder, as_arguments):
    """Function that runs the command and returns its exit status."""
    script = load_command("train_teacher")

    def run(*others):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train_teacher", *as_arguments(OPTIONS), *others])
            return script.main()

    return run


@pytest.fixture
def trained(folder, train, write_noise, capsys):
    if not (folder / "data").exists():
        write_noise(folder / "data", FRAMES, (80, 160), 150.0)
        assert train() == 0
        out = capsys.readouterr().out
        assert "5 training images from data, labels on 100% of the pixels, depth valid" in out
        assert out.count("validation: miou") == 2
    return folder / "runs" / "tiny" / "member-0"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def validations(*paths):
    return [row["step"] for path in paths for row in rows(path) if row["val_miou"]]


def weights(path):
    return load_model(path)[0].state_dict()


def of_checkpoint(path, key="state_dict"):
    """Number of steps, and weights by their names in the network."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    found = {name.removeprefix("model."): value for name, value in content[key].items()}
    return content["global_step"], found


def assert_same(first, second):
    torch.testing.assert_close(dict(first), dict(second), rtol=0, atol=0)


def test_four_steps_write_checkpoints_weights_metrics_and_configuration(trained):
    steps, averaged = of_checkpoint(trained / "last.ckpt")
    assert steps == 4
    assert_same(weights(trained / "last.safetensors"), averaged)
    assert_same(weights(trained / "best.safetensors"), of_checkpoint(trained / "best.ckpt")[1])
    _, current = of_checkpoint(trained / "last.ckpt", "current_model_state")
    assert not torch.equal(averaged["depth_decoder.head.bias"], current["depth_decoder.head.bias"])
    assert load_model(trained / "last.safetensors")[1] == {
        "steps": 4,
        "seed": 0,
        "learned": {
            "method": "network",
            "trunk": None,
            "data": ["drives"],
            "classes": list(CITYSCAPES.names),
            "canonical_focal": 100.0,
            "image_width": 128,
            "input_size": [64, 128],
            "depth_limit": 80.0,
            "max_depth": 80.0,
        },
    }
    metrics = rows(trained / "metrics.csv")
    assert validations(trained / "metrics.csv") == ["1", "3"]
    assert all(float(row["val_depth_rmse_m"]) > 0 for row in metrics if row["val_miou"])
    assert {path.name for path in (trained / "pictures").iterdir()} == {"000002.jpg", "000004.jpg"}
    config = read_settings(trained / "config.yaml")
    assert {name: config[name] for name in OPTIONS} == OPTIONS
    assert config["architecture.variant"] == "b0"


def test_a_complete_run_only_writes_weights_that_are_missing(trained, train, monkeypatch):
    expected = {name: weights(trained / name) for name in ("last.safetensors", "best.safetensors")}
    for name in expected:
        (trained / name).unlink()
    assert train() == 0
    for name, value in expected.items():
        assert_same(weights(trained / name), value)
    monkeypatch.setattr(teacher, "fit", None)
    assert train() == 0


def test_other_settings_are_refused_for_a_run_that_has_begun(trained, train, capsys):
    before = (trained / "config.yaml").read_text()
    assert train("--run.steps", "6", "--data.batch", "3", "--architecture.dropout", "0.2") == 1
    error = capsys.readouterr().err
    assert "data.batch was 2, now 3; architecture.dropout was 0.1, now 0.2" in error
    assert "Choose another run.name" in error
    assert (trained / "config.yaml").read_text() == before
    assert train("--run.steps", "6", "--run.ema", "0") == 1
    assert "run.ema was 0.5, now 0" in capsys.readouterr().err
    assert train("--run.ema", "0.6") == 0  # another decay is allowed


@pytest.mark.parametrize("content", ["", "data: [", "a list"])
def test_a_damaged_configuration_is_refused(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"config\.yaml is not the configuration of a training"):
        read_settings(path)


def test_the_same_command_with_more_steps_resumes_and_keeps_the_earlier_metrics(
    trained, train, capsys
):
    earlier, before = rows(trained / "metrics.csv"), weights(trained / "last.safetensors")
    assert train("--run.steps", "6") == 0
    assert "last.ckpt has 4 of 6 steps" in capsys.readouterr().out
    assert of_checkpoint(trained / "last.ckpt")[0] == 6
    assert rows(trained / "metrics-1.csv") == earlier
    assert validations(trained / "metrics.csv") == ["5"]
    after = weights(trained / "last.safetensors")
    name = "encoder.stages.0.embed.weight"
    assert not torch.equal(before[name], after[name])
    # AdamW moves a weight by about its rate: a run from the start would be elsewhere by 1e-2.
    assert (before[name] - after[name]).abs().max() < 1e-3


SEVEN = ("--run.steps", "7", "--run.checkpoint_every", "2", "--run.validate_every", "3")


@pytest.fixture
def uninterrupted(trained, train, folder):
    """A run of seven steps; two steps are an epoch."""
    train(*SEVEN, "--run.name", "uninterrupted")
    return folder / "runs" / "uninterrupted" / "member-0"


class StoppedAfterValidation(teacher.Member):
    def on_train_batch_start(self, *arguments):
        super().on_train_batch_start(*arguments)
        if self.global_step == 3:
            raise OSError("No space left on device")


class StoppedBeforeItsCheckpoint(LastCheckpoint):
    def on_validation_end(self, trainer, *arguments):
        if trainer.global_step == 6:  # best.ckpt may be written, and a checkpoint is due, too
            raise OSError("No space left on device")
        super().on_validation_end(trainer, *arguments)


@pytest.mark.parametrize(
    ("module", "stopped", "step"),
    [(teacher, StoppedAfterValidation, 3), (running, StoppedBeforeItsCheckpoint, 4)],
)
def test_a_resumed_run_neither_skips_nor_repeats_a_validation(
    module, stopped, step, uninterrupted, train, folder, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr(module, stopped.__bases__[0].__name__, stopped)
        assert train(*SEVEN, "--run.name", stopped.__name__) == 1
    assert "train_teacher: No space left on device" in capsys.readouterr().err
    assert train(*SEVEN, "--run.name", stopped.__name__) == 0
    out = capsys.readouterr().out
    assert f"last.ckpt has {step} of 7 steps" in out
    assert re.search(r"^step 7 of 7: loss .*, .* images/s$", out, re.MULTILINE)
    assert not {"\r", "\x1b"} & set(out)  # a log gets no control characters
    resumed = folder / "runs" / stopped.__name__ / "member-0"
    for name in ("last.safetensors", "best.safetensors"):
        assert_same(weights(uninterrupted / name), weights(resumed / name))
    both = (resumed / "metrics-1.csv", resumed / "metrics.csv")
    assert validations(*both) == validations(uninterrupted / "metrics.csv") == ["2", "5"]
    assert rows(uninterrupted / "metrics.csv")[-1] == rows(resumed / "metrics.csv")[-1]


class Diverged(teacher.Member):
    """Its weights are NaN when step 3 begins."""

    def on_train_batch_start(self, batch, batch_idx):
        super().on_train_batch_start(batch, batch_idx)
        if self.global_step == 3:
            with torch.no_grad():
                self.model.segmentation_decoder.head.bias.fill_(float("nan"))


def test_a_diverged_run_keeps_its_last_good_checkpoint_and_resumes_at_a_lower_rate(
    trained, train, folder, monkeypatch, capsys
):
    options = ("--run.name", "diverged", "--run.checkpoint_every", "1", "--run.ema", "0")
    options += ("--run.shares_every", "2", "--optimisation.warmup", "0")
    with monkeypatch.context() as patch:
        patch.setattr(teacher, "Member", Diverged)
        assert train(*options) == 1
    error = capsys.readouterr().err
    assert "train_teacher: The loss became nan at step 3 (ce nan, depth " in error
    diverged = folder / "runs" / "diverged" / "member-0"
    assert not (diverged / "last.safetensors").exists()
    steps, before = of_checkpoint(diverged / "last.ckpt")
    assert steps == 3
    assert all(x.isfinite().all() for x in before.values())

    shares = [row for row in rows(diverged / "metrics.csv") if row["share_logits_ce"]]
    assert [row["step"] for row in shares] == ["0", "2"]
    assert float(shares[0]["share_logits_ce"]) == float(shares[0]["share_depth_mean_depth"]) == 1

    assert train(*options, "--optimisation.learning_rate", "1e-9") == 0
    after = weights(diverged / "last.safetensors")
    moved = [(after[name] - before[name]).abs().max() for name in after if "head" in name]
    assert 0 < max(moved) < 2e-8  # ten times that rate, in one step


def test_an_evidential_network_starts_from_the_weights_of_another_one(trained, train, folder):
    options = ("--run.name", "evidential", "--architecture.evidential", "true")
    start = ("--architecture.init", str(trained / "last.safetensors"))
    assert train(*options, *start, "--run.steps", "2") == 0
    path = folder / "runs" / "evidential" / "member-0" / "last.safetensors"
    assert load_model(path)[0].evidential
    found = load_method("evidential", [path])(torch.zeros(1, 3, 64, 128, dtype=torch.uint8))
    assert found.depth_epistemic.isfinite().all()


def test_later_members_are_trained_without_the_first_ones(trained, train, folder, capsys):
    options = ("--first", "2", "--run.name", "later", "--run.steps", "1")
    assert train(*options) == 0
    assert "member 2 of 3, seed 2: runs/later/member-2" in capsys.readouterr().out
    assert [path.name for path in (folder / "runs/later").iterdir()] == ["member-2"]
    assert load_model(folder / "runs/later/member-2/last.safetensors")[1]["seed"] == 2
    assert train(*options, "--method", "sub_ensemble") != 0
    assert "Expected first to be 0 with method 'sub_ensemble'" in capsys.readouterr().err


def test_a_sub_ensembles_heads_share_one_trunk(trained, train, folder):
    options = ("--method", "sub_ensemble", "--members", "2", "--run.name", "sub")
    assert train(*options) == 0
    networks = load_sub_ensemble(folder / "runs/sub/sub_ensemble.safetensors")
    assert len(networks) == 2
    first, second = (weights(folder / f"runs/sub/member-{k}/last.safetensors") for k in (0, 1))
    for name in first:
        same = torch.equal(first[name], second[name])
        assert same == name.startswith("encoder.") or name.endswith("num_batches_tracked"), name
    learned, head = (
        read_header(folder / "runs/sub" / name)[1]["learned"]
        for name in ("sub_ensemble.safetensors", "member-1/last.safetensors")
    )
    assert (learned["method"], head["method"]) == ("sub_ensemble", "head")
    assert learned["trunk"] == head["trunk"]
    assert (
        learned["trunk"]
        == read_header(folder / "runs/sub/member-0/last.safetensors")[0]["encoder"]
    )


@pytest.mark.parametrize("kept", ["last.safetensors", "last.ckpt"])
def test_heads_are_not_taken_for_members_nor_members_for_heads(
    kept, trained, train, folder, capsys, monkeypatch
):
    options, runs = ("--members", "2", "--run.name", kept), folder / "runs" / kept
    other = {"last.safetensors": "last.ckpt", "last.ckpt": "last.safetensors"}[kept]
    for first, second in (("ensemble", "sub_ensemble"), ("sub_ensemble", "ensemble")):
        assert train(*options, "--method", first) == 0
        (runs / "member-1" / other).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(teacher, "fit", None)  # it is said before anything is trained
            assert train(*options, "--run.steps", "9", "--method", second) == 1
        error = capsys.readouterr().err
        assert f"member-1/{kept} and this run disagree: trained as a" in error
        assert "a head on a shared trunk" in error and "an independent network" in error
        assert "Choose another run.name, or delete" in error and error.count("\n") == 1
        shutil.rmtree(runs)


def test_a_checkpoint_of_another_network_is_refused_without_its_configuration(
    trained, train, folder, capsys
):
    shutil.copytree(trained, folder / "runs/bare/member-0")
    (folder / "runs/bare/member-0/config.yaml").unlink()
    (folder / "runs/bare/member-0/last.safetensors").unlink()
    assert train("--run.name", "bare", "--architecture.variant", "b1") == 1
    assert "last.ckpt is the checkpoint of another network" in capsys.readouterr().err


class Ended(teacher.Member):
    """A member whose process is told to end during its training."""

    def on_train_batch_start(self, *arguments):
        super().on_train_batch_start(*arguments)
        if self.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)


class Interrupted(teacher.Member):
    def on_train_batch_start(self, *arguments):
        super().on_train_batch_start(*arguments)
        if self.global_step == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("member", "status"), [(Interrupted, 130), (Ended, 143)])
def test_an_interrupted_command_says_that_it_can_be_resumed(
    trained, train, folder, monkeypatch, capsys, member, status
):
    monkeypatch.setattr(teacher, "Member", member)
    handler = signal.getsignal(signal.SIGINT)
    name = member.__name__
    try:
        assert train("--run.name", name) == status
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning has switched it off
    error = capsys.readouterr().err
    assert "train_teacher: interrupted; the same command resumes." in error
    assert not (folder / "runs" / name / "member-0" / "last.safetensors").exists()
