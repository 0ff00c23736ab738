"""docs/study.md: tables, plots and claims, written into a text that people write.

What stands between `<!-- study: NAME -->` and `<!-- end -->` is replaced; all else stays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from emu_core.evaluation import plots
from emu_core.evaluation.report import ranking_bound, write_plots
from emu_core.evaluation.tables import (
    DEPTH,
    EXPLANATION,
    MISSING,
    SEGMENTATION,
    TABLES,
    Row,
    markdown,
)
from emu_core.evaluation.values import Difference, Value
from emu_core.files import replace_text
from emu_core.networks.encoder import VARIANTS
from emu_core.study.claims import LEAST_GAP, SEEDS, Closed, Comparison
from emu_core.study.findings import Findings
from emu_core.study.rows import ABLATION, APART, METHODS, ROWS

CLAIMS = {
    1: "Joint training helps the quality of the segmentation uncertainty against separate "
    "networks.",
    2: "Deep Ensembles give the best uncertainties, above all out of domain.",
    3: "The student matches its teacher's uncertainties at a small fraction of the cost.",
    4: "The student's depth beats its teacher's, and GNLL with distilled variances is why.",
    5: "How these move with the backbone.",
}
"""Of the paper, in paper.md's order."""

PLOTTED = (*METHODS, "student_fresh")
"""Rows of the plots."""

JOINT = (*PLOTTED, "single_rmsle")
"""Rows of the main tables; single-task networks follow. The last is a baseline of the papers."""

AIM = 0.7
"""Share of a gap that a student is to close."""

_GAP = (
    "How much of the gap between single network and ensemble each row closes, with 95 % intervals "
    "over drives and seeds. There is a gap where the ensemble is clearly better, by at least "
    f"{100 * LEAST_GAP:.0f} % of the single network's figure (of an AUROC: of what it lacks to 1; "
    "the size below the gap) and by more than the standard deviation between its members. "
    "*Student − control* is what the teacher alone is good for: (student − control) / "
    "(ensemble − single network)."
)


def blocks(
    findings: Findings, comparisons: Sequence[Comparison], closed: Sequence[Closed]
) -> dict[str, str]:
    """The written parts of the document by name."""
    found = {}
    for regime in findings.rows:
        found[f"{regime}: tables"] = _tables(findings, regime)
        found[f"{regime}: gap closed"] = _gap([c for c in closed if c.regime == regime])
        found[f"{regime}: members"] = _members(findings.disagreement.get(regime, {}))
        found[f"{regime}: depth loss"] = _ablation(findings, regime)
    for claim in CLAIMS:
        of_claim = [c for c in comparisons if c.claim == claim]
        found[f"claim {claim}"] = claim_text(claim, of_claim)
    found["claim 5"] = _backbones(findings)
    return found


def write_document(path: Path, title: str, content: Mapping[str, str]) -> None:
    """Put the blocks into the document; those that it has no place for go to its end."""
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {title}\n"
    for name, block in content.items():
        opening = f"<!-- study: {name} -->"
        lines = block.strip("\n")  # an indented line is one of code
        new = f"{opening}\n{lines}\n<!-- end -->"
        place = re.compile(re.escape(opening) + r".*?<!-- end -->", re.DOTALL)
        if place.search(text):
            before, after = place.split(text, maxsplit=1)
            text = before + new + after
        else:
            text += f"\n## {name[0].upper()}{name[1:]}\n\n{new}\n"
    replace_text(path, text)


def write_study_plots(folder: Path, findings: Findings, closed: Sequence[Closed]) -> list[str]:
    """Write every regime's plots; returns the files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for regime, of_regime in findings.cells.items():
        cells = {s: {n: c[n] for n in PLOTTED if n in c} for s, c in of_regime.items()}
        rows = {s: {n: r[n] for n in PLOTTED if n in r} for s, r in findings.rows[regime].items()}
        names += write_plots(folder, regime, cells, rows, prefix=f"{regime}_")
        for split in of_regime:
            shares = {
                label(c.figure): {m: v for m, v in c.shares.items() if v is not None}
                for c in closed
                if (c.regime, c.split) == (regime, split)
            }
            shares = {heading: found for heading, found in shares.items() if found}
            if shares:
                names.append(f"{regime}_gap_{split}.png")
                plots.shares(shares, f"{regime}, {split}").savefig(folder / names[-1], dpi=110)
    return names


def claim_text(claim: int, comparisons: Sequence[Comparison]) -> str:
    """What was found of a claim: for each pair of rows the verdicts' counts and every interval."""
    text = [f"**Claim {claim}.** {CLAIMS[claim]}"]
    if not comparisons:
        return "\n\n".join([*text, "Nothing was compared: the rows that it needs are missing."])
    text.append(f"First row less second; ✓ better, ✗ worse, else open. {SEEDS}")
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for c in comparisons:
        pairs.setdefault((c.first, c.second), []).append(c)
    for (first, second), group in pairs.items():
        judged = [c.verdict for c in group if c.difference.seeds != "unknown"]
        count = Counter(judged)
        text.append(
            f"{heading(first)} against {heading(second)}: better in {count['better']} of "
            f"{len(judged)} comparisons, worse in {count['worse']}, open in {count['open']}."
        )
        text.append(_comparison_table(group))
    return "\n\n".join(text)


def _backbones(findings: Findings) -> str:
    """Of claim 5: other backbones are regimes of their own in the tables of the other claims."""
    others = [
        regime
        for regime, of_splits in findings.rows.items()
        if regime.rpartition("-")[2] in VARIANTS and any(of_splits.values())
    ]
    text = f"**Claim 5.** {CLAIMS[5]}\n\n"
    if not others:
        return f"{text}Not tested: all networks have the same backbone."
    return f"{text}The claims above tell of it, line by line, as regime {', '.join(others)}."


def label(figure: str) -> str:
    """A figure's heading with its task."""
    for task, figures in (("classes", SEGMENTATION), ("depth", DEPTH)):
        for known in figures:
            if known.name == figure:
                return f"{task}: {known.heading}"
    return figure


def heading(row: str) -> str:
    """A row's heading; `APART` says that networks have one task each."""
    if row.startswith(APART):
        return f"single-task: {ROWS[row.removeprefix(APART)].heading}"
    return ROWS[row].heading


def _tables(findings: Findings, regime: str) -> str:
    rows = findings.rows[regime]
    apart = [APART + name for name in METHODS if any(APART + name in r for r in rows.values())]
    text = [EXPLANATION]
    for split, of_split in rows.items():
        seeds = {name: len(cell) for name, cell in findings.cells[regime][split].items()}
        shown: dict[str, Row | None] = {
            heading(name) + (f" ({seeds[name]})" if name in seeds else ""): of_split.get(name)
            for name in (*JOINT, *apart)
        }
        for title, figures in TABLES.items():
            if any(f.name in row for row in of_split.values() for f in figures):
                text += [f"### {regime}, {split}: {title}", markdown(figures, shown)]
    text.append("In brackets behind a method: how many seeds.")
    text.append(ranking_bound(findings.cells[regime]))
    return "\n\n".join(text)


def _gap(closed: Sequence[Closed]) -> str:
    if not closed:
        return "Needs the rows `single` and `de`."
    rows = list(dict.fromkeys(row for c in closed for row in c.shares))
    pupils = list(dict.fromkeys(row for c in closed for row in c.distilled))
    headings = ["split", "figure", "ensemble − single network", *rows]
    headings += [f"{row} − control" for row in pupils]
    lines = [_GAP, "", f"| {' | '.join(headings)} |", "|---|---|" + "--:|" * (len(headings) - 2)]
    for c in closed:
        gap = f"{_differs(c.gap)}<br><sub>{100 * c.size:.1f} %</sub>"
        cells = [_percent(c.shares[row]) if row in c.shares else MISSING for row in rows]
        cells += [_percent(c.distilled[row]) if row in c.distilled else MISSING for row in pupils]
        lines.append(f"| {c.split} | {label(c.figure)} | {gap} | " + " | ".join(cells) + " |")
    for row in rows:
        lines += ["", f"{heading(row)}: {_reached([c.shares.get(row) for c in closed])}."]
    for row in pupils:
        reached = _reached([c.distilled.get(row) for c in closed])
        lines += ["", f"{heading(row)}, beyond the control: {reached}."]
    return "\n".join(lines)


def _reached(shares: Sequence[Value | None]) -> str:
    there = [share for share in shares if share is not None]
    most = sum(share.mean >= AIM for share in there)
    return f"at least {100 * AIM:.0f} % closed in {most} of {len(there)} gaps"


def _percent(share: Value | None) -> str:
    if share is None:
        return "no gap"
    low, high = share.ci95 or (share.mean, share.mean)
    return f"{100 * share.mean:.0f} %<br><sub>{100 * low:.0f} … {100 * high:.0f}</sub>"


def _differs(difference: Difference) -> str:
    low, high = difference.ci95
    return f"{difference.mean:+.3g} [{low:+.3g}, {high:+.3g}]"


def _members(of_splits: Mapping[str, Mapping[str, float]]) -> str:
    if not of_splits:
        return "Needs the row `de`."
    columns = {
        "labels": "two members differ, % of pixels",
        "information_share": "mutual information, % of the entropy",
        "epistemic_share": "epistemic, % of the depth variance",
    }
    lines = ["| split | " + " | ".join(columns.values()) + " |", "|---|" + "--:|" * len(columns)]
    for split, found in of_splits.items():
        cells = [f"{100 * found[name]:.1f}" if name in found else MISSING for name in columns]
        lines.append(f"| {split} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    figures = list(dict.fromkeys(c.figure for c in comparisons))
    places: dict[tuple[str, str], dict[str, str]] = {}
    for c in comparisons:
        mark = {"better": " ✓", "worse": " ✗", "open": ""}[c.verdict]
        mark += {"own": "", "borrowed": " °", "unknown": " (1 seed)"}[c.difference.seeds]
        low, high = c.difference.ci95
        cell = f"{c.difference.mean:+.3g}{mark}<br><sub>{low:+.3g} … {high:+.3g}</sub>"
        places.setdefault((c.regime, c.split), {})[c.figure] = cell
    lines = ["| | " + " | ".join(map(label, figures)) + " |", "|---|" + "--:|" * len(figures)]
    for (regime, split), cells in places.items():
        row = [cells.get(figure, MISSING) for figure in figures]
        lines.append(f"| {regime}, {split} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _ablation(findings: Findings, regime: str) -> str:
    text = []
    for split, of_split in findings.rows[regime].items():
        rows = {heading(name): of_split.get(name) for name in ABLATION}
        if any(name in of_split for name in ABLATION if name not in METHODS):
            text += [f"### {regime}, {split}: depth loss", markdown(DEPTH, rows)]
    return "\n\n".join(text) or "Nothing was scored yet."
