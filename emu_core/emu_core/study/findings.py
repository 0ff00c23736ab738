"""What a study has found so far, read from its folder: nothing is trained or scored here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emu_core.evaluation.plots import Cells
from emu_core.evaluation.report import Rows, load_cells, load_timings, rows_of
from emu_core.evaluation.splits import Split
from emu_core.evaluation.store import Store, read_json
from emu_core.evaluation.timing import Timing
from emu_core.study.config import Study
from emu_core.study.execution import DISAGREEMENT, TIMING
from emu_core.study.plan import Scoring, Step


@dataclass(frozen=True)
class Findings:
    """Results by regime.

    Args:
        cells: regime → split → row → its seeds.
        rows: regime → split → row → figures.
        timings: row → milliseconds.
        disagreement: regime → split → figure, of the joint ensemble's members.
    """

    cells: Mapping[str, Cells]
    rows: Mapping[str, Rows]
    timings: dict[str, Timing]
    disagreement: Mapping[str, Mapping[str, Mapping[str, float]]]


def collect(study: Study, plan: Sequence[Step], splits: Mapping[str, Split]) -> Findings:
    """Read what there is of a plan.

    Args:
        splits: what is scored, by the names in the tables.
    """
    timings = load_timings(study.folder / TIMING)
    cells, rows, differ = {}, {}, {}
    everything = [step for step in plan if isinstance(step, Scoring)]
    for regime in dict.fromkeys((*study.regimes, *(s.regime for s in everything))):
        scorings = [s for s in everything if s.regime == regime]
        candidates = [scoring.candidate(study.folder) for scoring in scorings]
        store = Store(study.folder / regime / "evaluation", study.resamples)
        cells[regime] = load_cells(store, candidates, splits)
        # Other backbones are not timed.
        rows[regime] = rows_of(cells[regime], timings if regime in study.regimes else {})
        found: Any = read_json(study.folder / regime / DISAGREEMENT)
        if found:
            differ[regime] = found
    return Findings(cells, rows, timings, differ)
