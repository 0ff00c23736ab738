"""Results of a study: read from its folder, and kept as one long table.

    results = results_table(study, plan, splits, load_scores(study, plan, splits))
    write_results(results, Path("docs/study/real/results.csv.xz"))

Each row is one number. Its column `kind` says which:

- metric: a metric of `method`, with the number of its seeds.
- claim 1 … 4: `method` less `other`; `source` is the origin of the error between seeds.
- gap, gap size, share, distilled: see `claims.gap_closed`.
- disagreement: of the members of `method`.
- about: a number or a text about all of this.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from lzma import LZMAError
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from emu_core.evaluation import report
from emu_core.evaluation.splits import Split
from emu_core.evaluation.timing import load_times
from emu_core.evaluation.values import MILLISECONDS, Scores, metric_table
from emu_core.files import read_json, write_atomically
from emu_core.study.claims import compare, compare_backbones, gap_closed
from emu_core.study.config import AT, Study
from emu_core.study.jobs import StudyError, store_of
from emu_core.study.plan import Job, Scoring
from emu_core.training.config import plain
from emu_core.training.export import head_commit

RESULTS = "results.csv.xz"

_TEXTS = ["kind", "regime", "split", "method", "other", "metric", "source", "text"]
_COLUMNS = [*_TEXTS[:6], "seeds", "mean", "sd", "low", "high", *_TEXTS[6:]]


def load_scores(
    study: Study, plan: Sequence[Job], splits: Mapping[str, Split]
) -> dict[str, Scores]:
    """Read all scores that there are: regime → split → method → seeds."""
    jobs = [job for job in plan if isinstance(job, Scoring)]
    scores: dict[str, Scores] = {}
    for regime in dict.fromkeys((*study.regimes, *(job.regime for job in jobs))):
        candidates = [job.candidate for job in jobs if job.regime == regime]
        scores[regime] = report.load_scores(store_of(study, regime), candidates, splits)
    return scores


def results_table(
    study: Study,
    plan: Sequence[Job],
    splits: Mapping[str, Split],
    scores: Mapping[str, Scores],
) -> pd.DataFrame:
    """Put all results into one table; `scores` comes from `load_scores`."""
    times = load_times(study.folder / "timing.json")
    milliseconds = {} if times is None else times.values
    tables, rows = [], []
    for regime, of_regime in scores.items():
        own, variant = study.backbone_of(regime)
        of_backbone = {
            name.partition(AT)[0]: value
            for name, value in milliseconds.items()
            if name.partition(AT)[2] == variant
        }
        table = metric_table(of_regime, of_backbone)
        tables.append(table.assign(kind="metric", regime=regime))
        for split, methods in of_regime.items():
            place = {"regime": regime, "split": split}
            rows += [place | row for row in (*compare(methods), *gap_closed(methods))]
            if variant:
                of_own = scores[own].get(split, {})
                rows += [place | row for row in compare_backbones(methods, of_own, own)]
        if (bound := report.largest_bound(of_regime)) is not None:
            place = {"kind": "about", "regime": regime, "metric": "ranking bound"}
            rows.append({**place, "mean": bound})
    for job in plan:
        rows += _disagreement(job, study.folder) if isinstance(job, Scoring) else []
    packages = (f"{name} {version(name)}" for name in ("torch", "lightning", "numpy"))
    about = {
        "commit": head_commit(),
        "versions": ", ".join((f"python {platform.python_version()}", *packages)),
        "setting": report.describe(splits, times),
        "configuration": yaml.safe_dump(plain(study), sort_keys=False, allow_unicode=True),
    }
    rows += [{"kind": "about", "metric": name, "text": text} for name, text in about.items()]
    every = pd.concat([*tables, pd.DataFrame(rows)], ignore_index=True)
    every = every.reindex(columns=_COLUMNS).astype(dict.fromkeys(_TEXTS, "object"))
    return every.fillna(dict.fromkeys(_TEXTS, ""))


def _disagreement(job: Scoring, folder: Path) -> Iterator[dict[str, Any]]:
    found = (read_json(folder / job.output) or {}).get("disagreement", {})
    place = {"kind": "disagreement", "regime": job.regime, "method": job.candidate.name}
    for split, measured in found.items():
        for name, mean in measured.items():
            yield {**place, "split": split, "metric": name, "mean": mean}


def with_earlier(results: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Add what only an earlier run of the same study has: its folder is gone, its table is kept.

    What a method, or a pair of methods, has in `results` replaces all that it had in `earlier`.
    The times of the rows that are added are left out: they may be those of another machine.

    Raises:
        StudyError: The two runs differ in other settings than `name` and `order`.
    """
    new, old = (_settings(table) for table in (results, earlier))
    if other := sorted(key for key in {*new, *old} if new.get(key) != old.get(key)):
        raise StudyError(
            f"The earlier results are those of another study: {', '.join(other)} differ."
        )
    group = ["kind", "regime", "method", "other"]
    known = set(results[group].itertuples(index=False, name=None))
    kept = earlier[[row not in known for row in earlier[group].itertuples(index=False, name=None)]]
    kept = kept[(kept.metric != MILLISECONDS) & (kept.text == "")]
    merged = pd.concat([results, kept], ignore_index=True)
    # Tables list regimes and splits by their first rows.
    place = merged[["kind", "regime", "split"]].apply(lambda column: pd.factorize(column)[0])
    merged = merged.loc[place.sort_values(list(place), kind="stable").index]
    merged = merged.reset_index(drop=True)
    commit = (merged.kind == "about") & (merged.metric == "commit")
    before = earlier[(earlier.kind == "about") & (earlier.metric == "commit")].text
    merged.loc[commit, "text"] += "".join(f", and earlier {text}" for text in before)
    return merged


def _settings(results: pd.DataFrame) -> dict[str, Any]:
    about = results[(results.kind == "about") & (results.metric == "configuration")].text
    settings = yaml.safe_load(about.iloc[0]) if len(about) else {}
    return {key: value for key, value in settings.items() if key not in ("order", "name")}


def write_results(results: pd.DataFrame, path: Path) -> None:
    """Write a compressed CSV file, the same bytes for the same results."""
    write_atomically(path, partial(results.to_csv, index=False, float_format="%.6g"))


def read_results(path: Path) -> pd.DataFrame:
    """Read what `write_results` wrote.

    Raises:
        ValueError: The file cannot be read, or holds something else.
    """
    try:
        results = pd.read_csv(path, dtype=dict.fromkeys(_TEXTS, "str"))[_COLUMNS]
    except (OSError, EOFError, LZMAError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no results of a study ({error}).") from error
    return results.fillna(dict.fromkeys(_TEXTS, ""))
