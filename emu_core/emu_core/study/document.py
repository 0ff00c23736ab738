"""Tables and plots of a study, in one folder: tables.md, summary.md, results.csv.xz, PNGs.

All tables are made from results.csv.xz, so they can be written again without the study's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from emu_core.evaluation import plots
from emu_core.evaluation.report import bound_text, write_plot, write_plots
from emu_core.evaluation.tables import (
    DEPTH_LOSS,
    EXPLANATION,
    HEADLINES,
    METRICS,
    MISSING,
    TABLES,
    markdown,
    to_markdown,
)
from emu_core.evaluation.values import MILLISECONDS, Scores, Value
from emu_core.files import write_text
from emu_core.networks.encoder import VARIANTS
from emu_core.study.claims import CLAIMS, LEAST_GAP, verdict
from emu_core.study.config import SINGLE_TASK, study_method
from emu_core.study.results import RESULTS, read_results, write_results

MAIN = ["single", "control", "mcd20", "mcd50", "dse", "de", "student", "student_unlabelled"]
"""Methods of the plots, and first methods of the main tables."""

_BASELINE = "single_rmsle"  # published results have it, so the main tables do, too

_LOSSES = ("_l1", "_rmsle", "", "_beta")

ABLATION = [kind + loss for kind in ("single", "control", "student") for loss in _LOSSES]
ABLATION += ["student_novar", "student_logvar"]
"""Methods of the tables that compare depth losses."""

BACKBONE_METRICS = ("miou", "rmse", "seg.nll", "depth.nll")
"""Metrics of the plot of backbones."""

_NOT_SHOWN = {"de_less", SINGLE_TASK + "de_less"}

AIM = 0.7
"""Share of a gap that a student should close."""

_SEEDS = (
    "95 % intervals cover the effect of other drives (bootstrap) and of other seeds (Student's "
    "t). A method of one seed borrows the standard deviation between the seeds of the single "
    "networks, or of the students; an ensemble that of a mean over its members: °. Where there is "
    "none to borrow, it says “1 seed”, and the comparison is not counted."
)
_GAP = (
    "How much of the gap between single network and ensemble each method closes, with 95 % "
    "intervals over drives and seeds. There is a gap where the ensemble is clearly better, by at "
    f"least {100 * LEAST_GAP:.0f} % of the single network's metric (of an AUROC: of its distance "
    "to 1; the size is below the gap) and by more than the standard deviation between its "
    "members. *Student − control* is the effect of the teacher alone: (student − control) / "
    "(ensemble − single network)."
)
_DISAGREEMENT = {
    "labels": "two members differ, % of pixels",
    "information_share": "mutual information, % of the entropy",
    "epistemic_share": "epistemic, % of the depth variance",
}


def write_document(
    folder: Path, results: pd.DataFrame, scores: Mapping[str, Scores], all_tables: bool = True
) -> None:
    """Write results.csv.xz, and from it summary.md and tables.md; draw the plots.

    Args:
        folder: Where to write.
        results: The table of results.
        scores: Regime → split → method → seeds; without scores there are no plots.
        all_tables: Whether to write tables.md, which is large.
    """
    write_results(results, folder / RESULTS)
    written = read_results(folder / RESULTS)
    write_text(folder / "summary.md", summary_text(written))
    if all_tables:
        write_text(folder / "tables.md", tables_text(written))
    for regime, of_regime in scores.items():
        _write_plots(folder, regime, results[results.regime == regime], of_regime)
        _write_backbones(folder, regime, results)
    print(f"{folder}: report written")


def heading(name: str) -> str:
    """Return a method's heading; single-task networks and another regime are marked."""
    regime, _, name = name.rpartition("/")
    if regime:
        return f"{heading(name)} of {regime}"
    text = study_method(name.removeprefix(SINGLE_TASK)).heading
    return f"single-task: {text}" if name.startswith(SINGLE_TASK) else text


def summary_text(results: pd.DataFrame) -> str:
    """One small table: the most telling metrics of all methods but single-task and ablations."""
    hidden = results.method.isin(_NOT_SHOWN.union(ABLATION).difference(MAIN))
    hidden |= results.method.str.startswith(SINGLE_TASK)
    metrics = results[(results.kind == "metric") & ~hidden]
    text = [
        "# Most telling results",
        "Means over seeds. `training/study.py --report` writes more tables.",
    ]
    if metrics.empty:
        return "\n\n".join([*text, "Nothing was scored yet."]) + "\n"
    wide = metrics.pivot(index=["regime", "split", "method"], columns="metric", values="mean")
    columns = {}
    for metric in HEADLINES:
        if metric.name in wide:
            shown = wide[metric.name].map(f"{{:.{metric.digits}f}}".format)
            columns[f"{metric.task} {metric.title}".strip()] = shown.where(
                wide[metric.name].notna(), MISSING
            )
    order = metrics[["regime", "split", "method"]].drop_duplicates()
    table = pd.DataFrame(columns).loc[list(order.itertuples(index=False, name=None))]
    table = table.reset_index().assign(method=lambda t: t.method.map(heading))
    return "\n\n".join([*text, to_markdown(table, 3)]) + "\n"


def tables_text(results: pd.DataFrame) -> str:
    """All tables of a study."""
    about = results[results.kind == "about"].set_index("metric").text
    text = [
        "# Tables of the study",
        f"Written by `training/study.py --report` from [{RESULTS}]({RESULTS}).",
        f"Commit `{about.get('commit', '')}`, {about.get('versions', '')}. "
        f"{about.get('setting', '')}",
        EXPLANATION,
        "In brackets after a method: number of seeds.",
    ]
    regimes = [regime for regime in results.regime.unique() if regime]
    for regime in regimes:
        part = results[results.regime == regime]
        text += [f"## {regime}: share of the ensemble's gain that others close", *_gap(part)]
        text += [f"## {regime}: disagreement of the members", _disagreement(part)]
        text += _metric_tables(regime, part[part.kind == "metric"])
        text += [bound_text(bound) for bound in part[part.metric == "ranking bound"]["mean"]]
    text += [] if regimes else ["Nothing was scored yet."]
    text.append("## The paper's claims, comparison by comparison")
    for claim in CLAIMS:
        text += _claim(claim, results[results.kind == f"claim {claim}"])
    text += ["## Configuration", f"```yaml\n{about.get('configuration', '')}```"]
    return "\n\n".join(text) + "\n"


def _metric_tables(regime: str, metrics: pd.DataFrame) -> list[str]:
    """Main tables and depth losses of every split."""
    text = []
    present = list(metrics.method.unique())
    main = [*MAIN, _BASELINE, *(SINGLE_TASK + n for n in MAIN if SINGLE_TASK + n in present)]
    main += [name for name in present if name not in {*main, *ABLATION, *_NOT_SHOWN}]
    for split, table in metrics.groupby("split", sort=False):
        seeds = dict(zip(table.method, table.seeds, strict=True))
        methods = {n: heading(n) + (f" ({seeds[n]:.0f})" if n in seeds else "") for n in main}
        for title, columns in TABLES.items():
            if table.metric.isin([metric.name for metric in columns]).any():
                text += [f"### {regime}, {split}: {title}", markdown(table, columns, methods)]
        if not set(ABLATION).difference(MAIN).isdisjoint(seeds):
            losses = {name: heading(name) for name in ABLATION}
            text += [f"### {regime}, {split}: depth loss", markdown(table, DEPTH_LOSS, losses)]
    return text or ["Nothing was scored yet."]


def _gap(part: pd.DataFrame) -> list[str]:
    if not (part.kind == "gap").any():
        return ["Needs the methods `single` and `de`."]
    shares = part[part.kind.isin(["share", "distilled"])]
    titles = shares.method.where(shares.kind == "share", shares.method + " − control")
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in part.assign(title=titles).itertuples():
        cells = rows.setdefault((row.split, row.metric), {})
        if row.kind == "gap":
            cells["split"], cells["metric"] = row.split, METRICS[row.metric].label
            cells["gap"] = f"{row.mean:+.3g} [{row.low:+.3g}, {row.high:+.3g}]"
        elif row.kind == "gap size":
            gap = cells.pop("gap")
            size = f"<br><sub>{100 * row.mean:.1f} %</sub>" if row.mean == row.mean else ""
            cells["ensemble − single network"] = gap + size
        elif row.kind in ("share", "distilled"):
            cells[row.title] = _percent(row)
    table = pd.DataFrame([cells for cells in rows.values() if "split" in cells]).fillna(MISSING)
    text = [_GAP, to_markdown(table, 2)]
    for (kind, name), group in shares.groupby(["kind", "method"], sort=False):
        closed = group["mean"].dropna()
        beyond = ", beyond the control" if kind == "distilled" else ""
        text.append(
            f"{heading(name)}{beyond}: at least {100 * AIM:.0f} % closed in "
            f"{(closed >= AIM).sum()} of {len(closed)} gaps."
        )
    return text


def _percent(share: Any) -> str:
    if isnan(share.mean):
        return "no gap"
    return f"{100 * share.mean:.0f} %<br><sub>{100 * share.low:.0f} … {100 * share.high:.0f}</sub>"


def _disagreement(part: pd.DataFrame) -> str:
    found = part[(part.kind == "disagreement") & (part.method == "de")]
    if found.empty:
        return "Needs the method `de`."
    wide = found.pivot(index="split", columns="metric", values="mean")
    wide = (100 * wide).reindex(index=found.split.unique(), columns=list(_DISAGREEMENT))
    shown = wide.map(lambda value: MISSING if isnan(value) else f"{value:.1f}")
    return to_markdown(shown.rename(columns=_DISAGREEMENT).reset_index())


def _claim(claim: int, comparisons: pd.DataFrame) -> list[str]:
    """What was found about a claim: counted verdicts, and every interval."""
    text = [f"**Claim {claim}.** {CLAIMS[claim]}"]
    if comparisons.empty:
        missing = "the methods that it needs are missing"
        reason = "all networks have the same backbone" if claim == 5 else missing
        return [*text, f"Nothing was compared: {reason}."]
    text.append(f"First method less second; ✓ better, ✗ worse, else open. {_SEEDS}")
    for (first, second), group in comparisons.groupby(["method", "other"], sort=False):
        judged = [verdict(row) for row in group[group.source != "unknown"].itertuples()]
        better, worse, open_ = (judged.count(word) for word in ("better", "worse", "open"))
        text.append(
            f"{heading(first)} against {heading(second)}: better in {better} of {len(judged)} "
            f"comparisons, worse in {worse}, open in {open_}."
        )
        rows: dict[str, dict[str, str]] = {}
        for row in group.itertuples():
            cells = rows.setdefault(f"{row.regime}, {row.split}", {})
            cells[METRICS[row.metric].label] = _difference(row)
        wide = pd.DataFrame.from_dict(rows, "index").fillna(MISSING)
        text.append(to_markdown(wide.rename_axis("").reset_index()))
    return text


def _difference(row: Any) -> str:
    mark = {"better": " ✓", "worse": " ✗", "open": ""}[verdict(row)]
    mark += {"own": "", "borrowed": " °", "unknown": " (1 seed)"}[row.source]
    return f"{row.mean:+.3g}{mark}<br><sub>{row.low:+.3g} … {row.high:+.3g}</sub>"


def _write_backbones(folder: Path, regime: str, results: pd.DataFrame) -> None:
    """Draw quality over time for the backbones of a regime, if it has several."""
    metrics = results[(results.kind == "metric") & results.method.isin(MAIN)]
    about = results[(results.kind == "about") & (results.metric == "configuration")].text
    own = yaml.safe_load(about.iloc[0])["architecture"]["variant"] if len(about) else ""
    names = {regime: own, **{f"{regime}-{variant}": variant for variant in VARIANTS}}
    timed = set(metrics.regime[metrics.metric == MILLISECONDS])
    present = {r: name for r, name in names.items() if r in timed}
    tables = {name: metrics[metrics.regime == r] for r, name in present.items()}
    if len(tables) > 1:
        shown = [METRICS[name] for name in BACKBONE_METRICS if (metrics.metric == name).any()]
        draw = partial(plots.time_and_quality, tables, shown, f"{regime}: backbones")
        write_plot(folder / f"{regime}_backbones.png", draw, dpi=110)


def _write_plots(folder: Path, regime: str, part: pd.DataFrame, scores: Scores) -> None:
    metrics = part[(part.kind == "metric") & part.method.isin(MAIN)]
    shown = {s: {n: m[n] for n in MAIN if n in m} for s, m in scores.items()}
    write_plots(folder, regime, shown, metrics, prefix=f"{regime}_")
    shares = part[(part.kind == "share") & part["mean"].notna()]
    for split, group in shares.groupby("split", sort=False):
        closed: dict[str, dict[str, Value]] = {}
        for row in group.itertuples():
            value = Value(row.mean, row.sd, row.low, row.high)
            closed.setdefault(METRICS[row.metric].label, {})[row.method] = value
        draw = partial(plots.shares, closed, f"{regime}, {split}")
        write_plot(folder / f"{regime}_gap_{split}.png", draw, dpi=110)
