"""Names of tensors in Hugging Face's SegFormer files against names in our networks.

The files' names are those that `nvidia/mit-b*` and `nvidia/segformer-b*` were published with.
Transformers 5 uses others in memory, but translates them back when it saves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from emu_core.networks.encoder import REDUCTIONS, VARIANTS, Variant

HEAD = "decode_head.classifier"
"""The segmentation decoder's last layer, whose size depends on the classes."""

_BLOCK = {
    "layer_norm_1": "norm1",
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "layer_norm_2": "norm2",
    "mlp.dense1": "ffn.linear1",
    "mlp.dwconv.dwconv": "ffn.depthwise",
    "mlp.dense2": "ffn.linear2",
}
_REDUCTION = {
    "attention.self.sr": "attention.reduce",
    "attention.self.layer_norm": "attention.reduce_norm",
}


def encoder_names(variant: Variant) -> dict[str, str]:
    """Map names below the file's `encoder.` to names below ours."""
    layers = {}
    for stage, depth in enumerate(variant.depths):
        layers[f"patch_embeddings.{stage}.proj"] = f"stages.{stage}.embed"
        layers[f"patch_embeddings.{stage}.layer_norm"] = f"stages.{stage}.embed_norm"
        layers[f"layer_norm.{stage}"] = f"stages.{stage}.norm"
        parts = _BLOCK | (_REDUCTION if REDUCTIONS[stage] > 1 else {})
        for block in range(depth):
            for theirs, ours in parts.items():
                layers[f"block.{stage}.{block}.{theirs}"] = f"stages.{stage}.blocks.{block}.{ours}"
    return _tensors(layers)


def decoder_names() -> dict[str, str]:
    """Map names below the file's `decode_head.` to names below our segmentation decoder."""
    layers = {f"linear_c.{stage}.proj": f"projections.{stage}" for stage in range(4)}
    layers |= {"batch_norm": "norm", "classifier": "head"}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {
        **_tensors(layers),
        "linear_fuse.weight": "fuse.weight",
        **{f"batch_norm.{name}": f"norm.{name}" for name in statistics},
    }


def guess_variant(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Tell the variant of a checkpoint from its tensors' names and shapes; None if it is none."""
    depths = tuple(_count_blocks(shapes, stage) for stage in range(4))
    embedding = next(
        (v for k, v in shapes.items() if k.endswith("embeddings.0.proj.weight")), (0,)
    )
    for name, variant in VARIANTS.items():
        if variant.depths == depths and variant.widths[0] == embedding[0]:
            return name
    return None


def _count_blocks(names: Iterable[str], stage: int) -> int:
    pattern = re.compile(rf"(?:^|\.)encoder\.block\.{stage}\.(\d+)\.")
    return len({match[1] for name in names if (match := pattern.search(name))})


def _tensors(layers: dict[str, str]) -> dict[str, str]:
    return {
        f"{theirs}.{tensor}": f"{ours}.{tensor}"
        for theirs, ours in layers.items()
        for tensor in ("weight", "bias")
    }
