"""Hugging Face models of segmentation and of depth as ONNX files with their options."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from emu_core.adapting.foreign import AdaptError
from emu_core.adapting.graph import quietly_traced
from emu_core.adapting.options import AdaptOptions, Depth, Segmentation, Source
from emu_core.labels import CITYSCAPES, NYUV2, class_table, normalized
from emu_core.runtime.model_file import OPSET, one_line

_KINDS = {"ForSemanticSegmentation": "segmentation", "ForDepthEstimation": "depth"}
_RESCALE = 1 / 255
_VALUES = {"metric": "metres", "relative": "disparity"}
"""What a `depth_estimation_type` of Depth Anything means."""


def export_hugging_face(options: AdaptOptions, folder: Path) -> AdaptOptions:
    """Export the models of `hugging_face`, and return the options to adapt them.

    Size, normalisation, classes and the kind of depth come from the model's own files, where the
    options do not give them.

    Args:
        options: What to adapt.
        folder: New folder for the ONNX files, kept until they are adapted.

    Raises:
        AdaptError: A model is missing, or is for neither task.
    """
    for source in filter(None, (options.hugging_face or "").split(",")):
        model = _load(source)
        task = next((t for end, t in _KINDS.items() if type(model).__name__.endswith(end)), "")
        given: Segmentation | Depth = getattr(options, task)
        if given.file is not None:
            raise AdaptError(f"{source} is a second network of {task}: give one for each task.")
        asked = _with_facts(given, source, task)
        if isinstance(asked, Segmentation):
            classes = asked.classes or _classes(model.config, source, folder)
            asked = replace(asked, classes=classes)
        elif isinstance(asked, Depth) and asked.values is None:
            kind = getattr(model.config, "depth_estimation_type", None)
            asked = replace(asked, values=_VALUES.get(kind or ""))
        assert asked.size is not None
        path = folder / f"{Path(source).name}.onnx"
        pixels = torch.zeros((1, 3, *asked.size))
        try:
            quietly_traced(_Plain(model), (pixels,), ["pixels"], [task], OPSET, path)
        except Exception as error:  # of tracing, of torch and of transformers
            raise AdaptError(
                f"{source} cannot be exported at {asked.size[1]}×{asked.size[0]} pixels: "
                f"{one_line(error)[:300]}. Give another --{task}.size."
            ) from error
        asked = replace(asked, file=path, size=None)
        options = replace(options, **{task: asked})
    return options


class _Plain(nn.Module):
    """A model that returns only its scores or its depth."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.model(pixels)
        return found.logits if hasattr(found, "logits") else found.predicted_depth


def _load(source: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise AdaptError(
            f"reading {source} needs another package: pip install transformers."
        ) from error
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        names = [name for name in config.architectures or [] if name.endswith(tuple(_KINDS))]
        if names:
            kind = getattr(transformers, names[0])
            return kind.from_pretrained(source).eval()
    except Exception as error:  # of the hub's client, of transformers and of safetensors
        raise AdaptError(
            f"{source} cannot be read: {one_line(error)[:300]}. Give a folder with config.json "
            "and weights, or the name of a model on Hugging Face's hub."
        ) from error
    raise AdaptError(
        f"{source} is {', '.join(config.architectures or ['of an unknown kind'])}, but this needs "
        f"a model whose kind ends in {' or '.join(_KINDS)}."
    )


def _with_facts(given: Any, source: str, task: str) -> Any:
    """Fill in size and normalisation from preprocessor_config.json."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        found, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except Exception:  # a model without this file
        found = {}
    asked: Source = given
    size = found.get("size") or {}
    if asked.size is None and isinstance(size, dict) and {"height", "width"} <= size.keys():
        asked = replace(asked, size=(int(size["height"]), int(size["width"])))
    if asked.size is None:
        raise AdaptError(
            f"{source} does not say which image size it is for: give --{task}.size "
            "'[HEIGHT, WIDTH]'."
        )
    if asked.normalizes or not found:
        return asked
    mean = std = None
    if not found.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    elif "image_mean" in found:
        mean, std = tuple(found["image_mean"]), tuple(found["image_std"])
    factor = found.get("rescale_factor", _RESCALE) if found.get("do_rescale", True) else 1.0
    return replace(asked, factor=factor, mean=mean, std=std)


def _classes(config: Any, source: str, folder: Path) -> str:
    """Return the class table of id2label: a built-in one with the same names, or a new file."""
    names = [str(config.id2label[k]) for k in sorted(config.id2label)]
    for table in (CITYSCAPES, NYUV2):
        if [normalized(name) for name in names] == [normalized(name) for name in table.names]:
            return table.dataset
    sky = next((name for name in names if normalized(name) == "sky"), None)
    content = {"name": Path(source).name, "classes": names, "sky": sky}
    class_table(content, f"{source}, id2label of config.json")  # refuses names that occur twice
    path = folder / "classes.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return str(path)
