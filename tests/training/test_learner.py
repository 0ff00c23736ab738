"""A learner's loss, optimiser, schedule and validation, on tiny networks and data."""

from dataclasses import replace
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from emu_core.data.augment import Augmentation
from emu_core.data.label_space import LabelSpace
from emu_core.data.mixture import Mixture
from emu_core.data.sample import Sample
from emu_core.labels import CITYSCAPES
from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.metrics import PerceptionMetrics
from emu_core.networks import SegDepthFormer, normalize
from emu_core.training.config import Optimisation, TrainingConfig
from emu_core.training.learner import Member, parameter_groups, update_metrics
from emu_core.training.loader import as_tensors, training_loader, validation_loader
from emu_core.training.objectives import MemberLoss

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*no `val_dataloader`", "ignore:.*LeafSpec"
)

AUGMENTATION = Augmentation(64, 128, canonical_focal=100.0)
SPACE = LabelSpace.identity(CITYSCAPES)


def street(seed):
    """Three bands (sky, building, road) with a colour and a distance each."""
    rows = [20, 20, 24]
    colors = np.array([[90, 140, 250], [140, 60, 50], [90, 90, 95]]).repeat(rows, 0)[:, None]
    image = colors + np.random.default_rng(seed).normal(0, 8, (64, 128, 3))
    labels, depth = (
        np.repeat(np.array(values, dtype), rows)[:, None].repeat(128, 1)
        for values, dtype in (([10, 2, 0], np.uint8), ([np.nan, 30.0, 8.0], np.float32))
    )
    return Sample(str(seed), image.clip(0, 255).astype(np.uint8), labels, depth, (100.0, 100.0))


class Frames(list):
    """Samples of one data set in memory."""

    space, title, max_depth = SPACE, "streets", 80.0


STREETS = Frames(street(seed) for seed in range(2))


def make_member(model, optimisation, **sections):
    return Member(model, TrainingConfig(optimisation=optimisation, **sections), Mixture([STREETS]))


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = SegDepthFormer("b0")
    model.init_depth(15.0, 8.0)
    return model


@pytest.fixture
def member(model):
    return make_member(model, Optimisation(learning_rate=1e-3, decoder_factor=1.0, warmup=1))


def trainer(**options):
    return lightning.Trainer(
        accelerator="cpu",
        precision="32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(member, steps=1, **options):
    loader = training_loader(STREETS, AUGMENTATION, 2, steps, seed=0)
    trainer(max_steps=steps, **options).fit(member, loader)


def test_a_few_steps_on_a_fixed_batch_reduce_the_loss(member):
    class Losses(lightning.Callback):
        values: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, member, outputs, batch, index):
            self.values.append(float(outputs["loss"]))

    lightning.seed_everything(0)
    fit(member, 10, callbacks=[losses := Losses()])
    assert len(losses.values) == 10
    assert losses.values[0] > 4.5  # ln 19 for the classes, log 8 m and more for the depth
    assert np.mean(losses.values[-2:]) < 0.75 * losses.values[0]


def test_the_loss_is_cross_entropy_plus_weighted_gaussian_nll_at_full_size(model):
    member = make_member(model, Optimisation(), loss=MemberLoss(depth_weight=0.5)).eval()
    batch = next(iter(validation_loader(STREETS, AUGMENTATION, 2)))
    logged = {}
    member.log_dict = lambda values, **_: logged.update(values)
    loss = member.training_step(batch, 0)
    prediction = to_prediction(member.model(normalize(batch["image"])), (64, 128))
    valid = torch.isfinite(batch["depth"])
    seg = F.nll_loss(prediction.probabilities.log(), batch["labels"].long(), ignore_index=255)
    of_depth = (prediction.depth_mean, batch["depth"], prediction.depth_variance)
    nll = F.gaussian_nll_loss(*(x[valid] for x in of_depth), eps=1e-9)
    expected = {"loss": seg + 0.5 * nll, "ce": seg, "depth": 0.5 * nll}
    torch.testing.assert_close(logged, expected, rtol=1e-4, atol=1e-4)
    assert loss is logged["loss"]


@pytest.mark.parametrize("broken", ["segmentation_decoder", "depth_decoder"])
def test_a_loss_that_is_not_finite_stops_with_a_message(member, broken):
    with torch.no_grad():
        getattr(member.model, broken).head.bias.fill_(float("nan"))
    part = {"segmentation_decoder": "ce nan, depth ", "depth_decoder": "ce .* depth nan"}[broken]
    message = rf"^The loss became nan at step 0 \({part}.*lower the learning rate and run"
    with pytest.raises(FloatingPointError, match=message):
        fit(member)


def test_a_gradient_that_is_not_finite_stops_before_it_changes_the_weights(member):
    bias = member.model.depth_decoder.head.bias
    bias.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in member.named_parameters()}
    with pytest.raises(FloatingPointError, match=r"gradient's norm became .* at step 0"):
        fit(member)
    torch.testing.assert_close(dict(member.named_parameters()), before, rtol=0, atol=0)


def test_half_precision_skips_such_steps_only_fifty_times(member):
    """The scaler halves the loss's scale at each of them, until only the loss can be the cause."""
    plugin = SimpleNamespace(scaler=object())
    member.trainer = SimpleNamespace(precision_plugin=plugin, global_step=77, world_size=1)
    member.log = lambda *_: None

    def step(gradient):
        for parameter in member.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        member.configure_gradient_clipping(None)

    for gradient in [*["inf"] * 50, "1", *["nan"] * 50]:  # one step in between is not skipped
        step(float(gradient))
    with pytest.raises(FloatingPointError, match=r"at step 77 .*50 steps before it were skipped"):
        step(float("inf"))


def test_the_gradient_is_clipped_to_its_limit(model):
    member, norms = make_member(model, Optimisation(warmup=1, clip=0.25)), []
    clip = member.configure_gradient_clipping

    def measured(optimizer, *args, **kwargs):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        clip(optimizer, *args, **kwargs)
        norms.append(torch.stack([g.norm() for g in gradients]).norm().item())

    member.configure_gradient_clipping = measured
    fit(member)
    assert norms[0] > 1
    assert norms[1] == pytest.approx(0.25, rel=1e-4)


def test_norms_and_biases_do_not_decay_and_decoders_have_their_own_rate():
    model = SegDepthFormer("b0")
    o = Optimisation(learning_rate=1e-4, decoder_factor=10.0, weight_decay=0.02)
    groups = parameter_groups(model, o)
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    assert sum(len(group["params"]) for group in groups) == len(found)
    kinds = set()
    for name, parameter in model.named_parameters():
        no_decay = parameter.ndim == 1  # norms and biases
        decoder = name.startswith(("segmentation_decoder.", "depth_decoder."))
        rate = 1e-3 if decoder else 1e-4
        assert found.pop(id(parameter)) == (pytest.approx(rate), 0.0 if no_decay else 0.02), name
        kinds.add((decoder, no_decay))
    assert not found
    assert len(kinds) == len(groups) == 4


@pytest.mark.parametrize(("warmup", "power"), [(0, 0.9), (1, 0.9), (5, 0.9), (0, 1.0)])
def test_the_schedule_is_linear_warm_up_times_polynomial_decay(warmup, power):
    model = torch.nn.ModuleDict(
        {"encoder": torch.nn.Linear(2, 2), "depth_decoder": torch.nn.Linear(2, 2)}
    )
    optimisation = Optimisation(1e-3, decoder_factor=10.0, warmup=warmup, power=power)
    member = make_member(model, optimisation)
    member.trainer = SimpleNamespace(estimated_stepping_batches=20, precision_plugin=None)
    (optimizer,), (schedule,) = member.configure_optimizers()
    assert schedule["interval"] == "step"
    seen = []
    for _ in range(22):
        seen.append([optimizer.param_groups[i]["lr"] for i in (0, -1)])
        optimizer.step()
        schedule["scheduler"].step()
    step = np.arange(22)
    warm = np.minimum(1, (step + 1) / warmup) if warmup else np.ones(22)
    expected = warm * np.clip(1 - step / 20, 0, None) ** power
    np.testing.assert_allclose(seen, expected[:, None] * [1e-3, 1e-2], rtol=1e-9, atol=1e-18)
    assert np.max(seen[20:]) == 0.0


def test_scores_are_in_metres_and_not_in_canonical_ones():
    truth = np.full((64, 128), 24.0, np.float32)  # seen with f = 200: 12 canonical metres
    sample = replace(STREETS[0], depth=truth, focal=(200.0, 200.0))
    batch = default_collate([as_tensors(sample, AUGMENTATION, None)])
    assert batch["depth_factor"].item() == 2.0
    labels = batch["labels"].long()
    probabilities = F.one_hot(labels, 19).permute(0, 3, 1, 2).float()
    mean = torch.full((1, 1, 64, 128), 15.0)
    metrics = PerceptionMetrics(19, 80.0)
    update_metrics(metrics, Prediction(probabilities, mean, torch.ones_like(mean)), batch, SPACE)
    scores = metrics.compute()
    assert scores["depth_rmse_m"] == pytest.approx(6.0)  # 2 · 15 m against 24 m
    assert scores["depth_abs_rel"] == pytest.approx(0.25)
    assert scores["miou"] == 1.0
    assert scores["label_ece"] == pytest.approx(0.0, abs=1e-6)


def test_validation_logs_every_score_of_the_complete_set(member, capsys):
    loader = validation_loader(STREETS, AUGMENTATION, 1)
    member.held_out = [STREETS]
    (scores,) = trainer().validate(member, loader, verbose=False)
    metrics = PerceptionMetrics(19, 80.0)
    member.eval()
    with torch.no_grad():
        for batch in loader:
            prediction = to_prediction(member.model(normalize(batch["image"])), (64, 128))
            update_metrics(metrics, prediction, batch, SPACE)
    expected = {f"val_{name}": value for name, value in metrics.compute().items()}
    assert scores == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert "validation: miou" in capsys.readouterr().out
