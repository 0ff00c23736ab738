"""The methods that the study compares: how each differs from a plain single network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """A method.

    Args:
        kind: as in `ensembles.KINDS`; control is a single network with the student's jitter,
            start, steps and seeds, but no teacher.
        heading: in the tables.
        dropout: before the decoders' last layers; None for the architecture's.
        depth: kind of depth loss; None for the study's.
        beta: of β-NLL, with a kind of depth loss.
        variance_weight: of a student's RMSLE on the depth variance; None for the study's.
        log_variance: that RMSLE is one of log s² instead of log(1 + s²).
        fresh: distil also on frames that no member has seen, without labels.
        leaves_out: under seed k, without member k.
    """

    kind: Literal["single", "mcd", "dse", "de", "student", "control"]
    heading: str
    dropout: float | None = None
    depth: Literal["gnll", "rmsle", "l1"] | None = None
    beta: float = 0.0
    variance_weight: float | None = None
    log_variance: bool = False
    fresh: bool = False
    leaves_out: bool = False

    @property
    def teacher(self) -> bool:
        """Whether it is a student or a student's control."""
        return self.kind in ("student", "control")


ROWS = {
    "single": Row("single", "single network"),
    "mcd20": Row("mcd", "MC Dropout 20 %", dropout=0.2),
    "mcd50": Row("mcd", "MC Dropout 50 %", dropout=0.5),
    "dse": Row("dse", "Deep Sub-Ensemble"),
    "de": Row("de", "Deep Ensemble"),
    # How much an ensemble's gain over its members depends on which these are (`claims`).
    "de_less": Row("de", "Deep Ensemble less one member", leaves_out=True),
    "student": Row("student", "student"),
    "control": Row("control", "control: student's training, no teacher"),
    "student_fresh": Row("student", "student, also on fresh frames", fresh=True),
    # The depth loss without a teacher, with the student's training alone, and with a teacher; gnll
    # is `single`, `control` and `student`.
    "single_l1": Row("single", "single network, L1", depth="l1"),
    "single_rmsle": Row("single", "single network, RMSLE", depth="rmsle"),
    "single_beta": Row("single", "single network, β-NLL", depth="gnll", beta=0.5),
    "control_l1": Row("control", "control, L1", depth="l1"),
    "control_rmsle": Row("control", "control, RMSLE", depth="rmsle"),
    "control_beta": Row("control", "control, β-NLL", depth="gnll", beta=0.5),
    "student_l1": Row("student", "student, L1", depth="l1"),
    "student_rmsle": Row("student", "student, RMSLE", depth="rmsle"),
    "student_beta": Row("student", "student, β-NLL", depth="gnll", beta=0.5),
    # What the distilled variance does.
    "student_novar": Row("student", "student, no variance distilled", variance_weight=0.0),
    "student_logvar": Row("student", "student, RMSLE of log s²", log_variance=True),
}

METHODS = ("single", "control", "mcd20", "mcd50", "dse", "de", "student")
"""The main table's rows, in its order; also the keys of study.json."""

LOSSES = ("l1", "rmsle", "beta")
"""Depth losses beside the Gaussian NLL, as endings of rows."""

ABLATION = ("single_l1", "single_rmsle", "single", "single_beta",
            "control_l1", "control_rmsle", "control", "control_beta",
            "student_l1", "student_rmsle", "student", "student_beta",
            "student_novar", "student_logvar")  # fmt: skip
"""The rows of the depth loss's table."""

APART = "apart-"
"""Prefix of results of single-task networks."""
