"""study.json and study.md: what their readers rely on."""

import json

import pytest

from emu_core.evaluation.report import rows_of
from emu_core.evaluation.timing import Timing
from emu_core.study.claims import compare, gap_closed
from emu_core.study.document import blocks, write_document
from emu_core.study.findings import Findings
from emu_core.study.origin import commands
from emu_core.study.summary import REQUIRED, as_text, summarise

ASKED = {
    "": {"miou", "ece", "rmse", "abs_rel", "delta1", "ms_per_image", "seeds"},
    "seg": {"nll", "brier", "error_auroc", "ause", "p_acc_cer", "p_unc_inacc", "p_inacc_unc",
            "pavpu", "unknown_auroc"},
    "depth": {"nll", "error_auroc", "ause", "p_acc_cer", "p_unc_inacc", "p_inacc_unc", "pavpu",
              "unknown_auroc", "coverage90"},
}  # fmt: skip
"""What the issue asks of every method's entry."""

ASKED_METHODS = ["single", "control", "mcd20", "mcd50", "dse", "de", "student"]
ASKED_SPLITS = ["in_domain", "haze", "night", "unknown"]


@pytest.fixture
def findings(scored):
    figures = {name: 1.0 for name in REQUIRED if "unknown" not in name}
    cells = {
        "few": {
            "in_domain": {
                "single": [scored(dict.fromkeys(figures, v)) for v in (1.09, 1.11)],
                "de": [scored(dict.fromkeys(figures, 0.5))],
                "student": [scored(dict.fromkeys(figures, 0.6))],
                "apart-single": [scored(figures)],
                "single_l1": [scored(figures)],
            },
            "unknown": {"single": [scored({**figures, "seg.unknown_auroc": 0.9})]},
        },
        "ample": {"in_domain": {}, "unknown": {}},
    }
    timings = {"single": Timing(20.0, 1.0, (19.0, 21.0), 20, 2, "cpu")}
    rows = {regime: rows_of(of_regime, timings) for regime, of_regime in cells.items()}
    differ = {"few": {"in_domain": {"labels": 0.125}}}
    return Findings(cells, rows, timings, differ)


@pytest.fixture
def told(findings):
    """Findings with comparisons and gaps."""
    places = [(r, s, rows) for r, of in findings.cells.items() for s, rows in of.items()]
    comparisons = [c for place in places for c in compare(*place)]
    return findings, comparisons, [c for place in places for c in gap_closed(*place)]


def test_commands_stay_indented_in_the_document(tmp_path):
    write_document(tmp_path / "study.md", "Study", {"commands": "\n    python study.py\n"})
    assert "-->\n    python study.py\n<!--" in (tmp_path / "study.md").read_text()


def test_every_entry_has_every_figure_that_is_asked_for(told):
    content = json.loads(as_text(summarise(*told, {"members": 5})))
    assert {"ample", "few"} <= set(content)
    assert content["ample"] == {"in_domain": {}, "unknown": {}}
    entry = content["few"]["in_domain"]["single"]
    for task, names in ASKED.items():
        assert names <= set(entry[task] if task else entry), task
    assert entry["seeds"] == 2
    assert entry["seg"]["nll"] == {
        "mean": 1.1, "sd": pytest.approx(0.0141421), "ci95": pytest.approx([1.1, 1.1]),
    }  # fmt: skip
    assert entry["ms_per_image"] == {"mean": 20.0, "sd": 1.0, "ci95": [19.0, 21.0]}
    assert entry["seg"]["unknown_auroc"] is None
    unknown = content["few"]["unknown"]["single"]
    assert unknown["seg"]["unknown_auroc"] == {"mean": 0.9, "sd": None, "ci95": [0.9, 0.9]}


def test_a_whole_study_has_every_entry_that_is_asked_for(scored):
    figures = dict.fromkeys(REQUIRED, 1.0)
    of_split = {method: [scored(figures), scored(figures)] for method in ASKED_METHODS}
    cells = {regime: dict.fromkeys(ASKED_SPLITS, of_split) for regime in ("ample", "few")}
    timing = Timing(20.0, 1.0, (19.0, 21.0), 20, 2, "cpu")
    timings = dict.fromkeys(ASKED_METHODS, timing)
    rows = {regime: rows_of(of_regime, timings) for regime, of_regime in cells.items()}
    findings = Findings(cells, rows, timings, {})
    content = json.loads(as_text(summarise(findings, [], [], {})))
    for regime in ("ample", "few"):
        assert list(content[regime]) == ASKED_SPLITS
        for split in ASKED_SPLITS:
            assert set(content[regime][split]) == set(ASKED_METHODS)
            for method in ASKED_METHODS:
                entry = content[regime][split][method]
                for task, names in ASKED.items():
                    for name in names - {"seeds"}:
                        value = (entry[task] if task else entry)[name]
                        assert set(value) == {"mean", "sd", "ci95"}, (task, name)
                assert entry["seeds"] == 2


def test_commands_leave_out_what_is_done_of_a_study_now(study):
    typed = ["--config", "a b.yaml", "--hours", "2", "--report", "--docs=docs", "--members", "3"]
    *_, last = commands(study, typed)
    assert last == (
        "python training/study.py --config 'a b.yaml' --members 3 --report --docs docs"
    )


def test_single_task_networks_and_the_ablation_stand_apart(told):
    content = json.loads(as_text(summarise(*told, {})))
    assert set(content["few"]["in_domain"]) == {"single", "de", "student"}
    assert set(content["single_task"]["few"]["in_domain"]) == {"single"}
    assert set(content["ablation"]["few"]["in_domain"]) == {"single", "single_l1", "student"}
    assert content["disagreement"]["few"]["in_domain"]["labels"] == 0.125
    claims = content["claims"]
    assert {c["claim"] for c in claims} == {1, 2, 3, 4}
    assert all(c["verdict"] in ("better", "worse", "open") for c in claims)
    nll = next(c for c in content["gap_closed"] if c["figure"] == "seg.nll")
    assert nll["shares"]["student"]["mean"] == pytest.approx((1.1 - 0.6) / (1.1 - 0.5), abs=1e-5)


def test_a_value_is_one_line_and_what_is_no_number_is_null():
    value = {"mean": 1 / 3, "sd": float("nan"), "ci95": (0.0, float("inf"))}
    text = as_text({"few": {"seg": {"nll": value}}})
    assert '"nll": { "mean": 0.333333, "sd": null, "ci95": [ 0.0, null ] }' in text
    assert json.loads(text)["few"]["seg"]["nll"]["sd"] is None


def test_tables_have_a_row_for_what_is_missing(told):
    text = blocks(*told)
    table = text["few: tables"]
    assert "### few, in_domain: segmentation" in table
    assert "| single network (2) | **1.100** ± 0.014" in table
    assert "| MC Dropout 20 % | – |" in table
    assert "| single-task: single network (1) |" in table
    assert "### few, in_domain: depth loss" not in table
    assert "| single network, L1 |" in text["few: depth loss"]
    assert "Nothing was scored yet." in text["ample: depth loss"]
    assert "| in_domain | 12.5 |" in text["few: members"]
    assert "| in_domain | classes: NLL, nats | -0.6 [" in text["few: gap closed"]
    assert "no gap" in text["few: gap closed"]  # of AUROC the ensemble has less here
    assert "student: at least 70 % closed in 5 of 5 gaps." in text["few: gap closed"]


def test_backbones_are_told_of_only_where_another_one_was_tried(told):
    findings, comparisons, closed = told
    assert "Not tested: all networks have the same backbone" in blocks(*told)["claim 5"]
    both = {**findings.rows, "few-b1": findings.rows["few"]}
    other = {**findings.cells, "few-b1": findings.cells["few"]}
    findings = Findings(other, both, findings.timings, findings.disagreement)
    assert "as regime few-b1." in blocks(findings, comparisons, closed)["claim 5"]


def test_what_people_wrote_in_the_document_stays(tmp_path):
    path = tmp_path / "docs" / "study.md"
    write_document(path, "Study", {"few: tables": "first", "claim 1": "open"})
    text = path.read_text()
    assert text.startswith("# Study\n")
    path.write_text(text.replace("# Study", "# The study\n\nWhat we think of it."))
    write_document(path, "Study", {"few: tables": r"second \1", "claim 1": "open"})
    text = path.read_text()
    assert "What we think of it." in text
    assert "first" not in text
    assert r"second \1" in text
    assert text.count("<!-- study: few: tables -->") == 1
    assert text.index("second") < text.index("open")


def test_a_document_that_cannot_be_written_keeps_what_people_wrote(tmp_path, monkeypatch):
    path = tmp_path / "study.md"
    path.write_text("# The study\n\nWhat we think of it.\n")

    def full(self, text, **_):
        with self.open("w") as file:
            file.write(text[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_document(path, "Study", {"claim 1": "open"})
    assert path.read_text() == "# The study\n\nWhat we think of it.\n"
    assert list(tmp_path.iterdir()) == [path]
