"""Methods as files: how a command line names them, and when their fingerprint changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emu_core.evaluation import candidate as module
from emu_core.evaluation.candidate import Candidate, parse_candidates, refuse_duplicates
from emu_core.networks import DepthFormer, SegFormer, WeightsError, save_model


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("joint", "depth"):
        for k in (0, 1, 10, 2):
            path = Path(f"{folder}/member-{k}/last.safetensors")
            path.parent.mkdir(parents=True)
            path.write_bytes(f"{folder} {k}".encode())
    return [Path(f"joint/member-{k}/last.safetensors") for k in (0, 1, 2, 10)]


def test_an_ensemble_takes_all_files_in_the_order_of_their_numbers_other_kinds_take_each(files):
    pattern = "joint/member-*/last.safetensors"
    assert parse_candidates(f"de={pattern}") == [Candidate("de", "de", tuple(files))]
    assert parse_candidates(f"mcd20:mcd={pattern}") == [
        Candidate("mcd20", "mcd", (path,), seed=k) for k, path in enumerate(files)
    ]


def test_a_comma_stands_between_single_task_networks(files):
    patterns = "joint/*/last.safetensors,depth/*/last.safetensors"
    found = parse_candidates(f"pair:single={patterns}")
    assert [c.paths for c in found] == [(path,) for path in files]
    assert found[3].depth_paths == (Path("depth/member-10/last.safetensors"),)
    (ensemble,) = parse_candidates(f"de={patterns}")
    assert len(ensemble.paths) == len(ensemble.depth_paths) == 4


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        *(
            (text, ValueError, r"Expected \[NAME:\]KIND=FILES")
            for text in ("joint/last.safetensors", "best=x", "=x", "single=a,b,c")
        ),
        ("single=nowhere/*.safetensors", WeightsError, "Found no model at nowhere"),
        ("single=joint/member-0/*,depth/*/*", ValueError, "but there are 4 and 1"),
    ],
)
def test_other_forms_and_missing_files_are_refused(files, text, error, message):
    with pytest.raises(error, match=message):
        parse_candidates(text)


def test_a_literal_path_is_taken_before_a_pattern(files):
    path = Path("joint/run [1], b/last.safetensors")
    path.parent.mkdir()
    path.touch()
    assert [c.paths for c in parse_candidates(f"single={path}")] == [(path,)]


def test_two_methods_of_one_name_and_seed_are_refused(files):
    first, *_, last = seeds = parse_candidates("single=joint/*/*.safetensors")
    refuse_duplicates([*seeds, Candidate("de", "de", tuple(files))])
    same = Candidate("single", "single", last.paths, seed=0)
    message = rf"seed 0: from {first.paths[0]} and from {last.paths[0]}.*\[NAME:\]KIND=FILES"
    with pytest.raises(ValueError, match=message):
        refuse_duplicates([*seeds, same])


def test_the_fingerprint_depends_on_contents_and_use_but_not_on_places(files):
    first, second, *_ = files
    candidate = Candidate("a", "single", (first,))
    moved = first.with_name("moved.safetensors")
    moved.write_bytes(first.read_bytes())
    assert Candidate("b", "single", (moved,), seed=3).fingerprint() == candidate.fingerprint()
    different = [
        candidate,
        Candidate("a", "single", (second,)),
        *(Candidate("m", "mcd", (first,), samples=n) for n in (5, 10)),
        Candidate("a", "single", (first,), (second,)),
        Candidate("a", "de", (first, second)),
    ]
    assert len({c.fingerprint() for c in different}) == len(different)
    before = candidate.fingerprint()
    first.write_bytes(b"trained on")
    assert candidate.fingerprint() != before


@pytest.fixture
def loaded(monkeypatch):
    """Options of all methods that are loaded."""
    received = []
    monkeypatch.setattr(module, "load_method", lambda *given: received.append(given[-1]))
    return received


def test_each_seed_of_mc_dropout_has_its_own_masks(files, loaded):
    seeds = [Candidate("mcd50", "mcd", files[:1], seed=k, samples=2) for k in range(2)]
    assert seeds[0].fingerprint() != seeds[1].fingerprint()
    for candidate in seeds:
        candidate.load()
    assert [(options.seed, options.samples) for options in loaded] == [(0, 2), (1, 2)]


def test_an_ensembles_members_stay_in_memory_unless_they_are_too_large(files, loaded, monkeypatch):
    candidate = Candidate("de", "de", tuple(files))
    assert candidate.size == sum(path.stat().st_size for path in files)
    candidate.load()
    replace(candidate, lazy=True).load()
    monkeypatch.setattr(module, "MAX_MEMORY", candidate.size - 1)
    candidate.load()
    assert [options.in_memory for options in loaded] == [True, False, False]


def test_single_task_networks_predict_as_one_method(tmp_path):
    torch.manual_seed(0)
    for name, network in {"seg": SegFormer("b0", 5), "depth": DepthFormer("b0")}.items():
        save_model(network, tmp_path / f"{name}.safetensors")
    paths = [(tmp_path / f"{name}.safetensors",) for name in ("seg", "depth")]
    images = torch.randint(0, 256, (1, 3, 32, 64), dtype=torch.uint8)
    pair = Candidate("pair", "single", *paths).load()(images)
    classes, depth = (Candidate("alone", "single", path).load()(images) for path in paths)
    torch.testing.assert_close(pair.probabilities, classes.probabilities)
    torch.testing.assert_close(pair.depth_mean, depth.depth_mean)
    torch.testing.assert_close(pair.depth_variance, depth.depth_variance)
