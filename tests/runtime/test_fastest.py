"""The fastest provider: what is compared, refused, kept and measured again."""

import json
import subprocess
import sys

import onnxruntime
import pytest

from emu_core.runtime import engines, fastest
from emu_core.runtime.engines import ProviderError
from emu_core.runtime.fastest import Choice, choose_provider, measure
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver

NAMES = ["cpu", "cuda", "openvino"]


@pytest.fixture(autouse=True)
def own_cache(cache):
    """No test uses the folder of this user."""


@pytest.fixture
def measured(monkeypatch):
    """Three providers of known times; returns the names of those that were loaded."""
    loaded, milliseconds = [], {"cpu": 250.0, "openvino": 125.0}

    def one(path, name, threads):
        loaded.append(name)
        if name not in milliseconds:
            raise ProviderError(name, path, "there is no device")
        return milliseconds[name]

    monkeypatch.setattr(fastest, "installed_providers", lambda: NAMES)
    monkeypatch.setattr(fastest, "_in_a_process", one)
    return loaded


def test_the_fastest_wins_and_refusals_have_their_reason():
    def one(name):
        if name == "openvino":
            raise ModelError("other results")
        return {"cuda": 1250.0, "cpu": 1200.0}[name]

    found = measure(["openvino", "cuda", "cpu"], one)
    assert found.provider == "cpu" and found.refused == {"openvino": "other results"}
    assert found.milliseconds == {"cuda": 1250.0, "cpu": 1200.0}
    assert str(found) == "cuda 1250 ms, cpu 1200 ms, openvino refused (other results)"


def test_an_engine_that_crashes_or_hangs_is_refused(dummy, monkeypatch):
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    run = fastest.subprocess.run
    programs = iter([crash, "import time; time.sleep(60)", "raise SystemExit('no memory')"])
    monkeypatch.setattr(fastest, "_TIMEOUT_S", 2)
    monkeypatch.setattr(
        fastest.subprocess,
        "run",
        lambda command, **more: run([command[0], "-c", next(programs)], **more),
    )
    for reason in ("its process ended with -11", "timed out after 2", "no memory"):
        with pytest.raises(ModelError, match=f"openvino could not be measured: .*{reason}"):
            fastest._in_a_process(dummy, "openvino", 1)


def test_half_precision_without_tolerances_is_refused(dummy):
    pytest.importorskip("openvino")
    found = choose_provider(dummy)
    assert found.provider in ("cpu", "openvino") and "openvino-bf16" in found.refused
    with pytest.raises(ModelError, match="no tolerances for fp16, so the results of"):
        Perceiver(dummy, provider="openvino-bf16").verify()


def test_without_a_provider_the_model_is_refused():
    def one(name):
        raise ModelError(f"damaged on {name}")

    with pytest.raises(ModelError, match="damaged on cpu"):
        measure(["cpu", "openvino"], one)


def test_the_choice_is_kept_for_this_model_and_number_of_threads(dummy, cache, measured):
    first = choose_provider(dummy)
    assert (first.provider, first.remembered) == ("openvino", False)
    assert first.milliseconds == {"cpu": 250.0, "openvino": 125.0}
    assert "there is no device" in first.refused["cuda"]
    assert measured == NAMES
    again = choose_provider(dummy)
    assert again == Choice("openvino", first.milliseconds, first.refused, remembered=True)
    assert measured == NAMES and str(again).endswith("measured earlier on this machine")
    choose_provider(dummy, threads=1)
    assert measured == 2 * NAMES and len(list(cache.glob("providers/*.json"))) == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"provider": "abacus"}', "[1]", "\x00"])
def test_a_damaged_file_is_measured_again_and_replaced(dummy, cache, measured, damage):
    choose_provider(dummy)
    (kept,) = cache.glob("providers/*.json")
    kept.write_text(damage)
    assert not choose_provider(dummy).remembered
    assert json.loads(kept.read_text())["provider"] == "openvino"


def test_a_folder_that_cannot_be_written_only_costs_time(dummy, measured, monkeypatch):
    monkeypatch.setenv("EMU_ENGINE_CACHE", "/dev/null/engines")
    assert choose_provider(dummy).provider == "openvino"
    assert not choose_provider(dummy).remembered
    monkeypatch.delenv("EMU_ENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert not choose_provider(dummy).remembered


def test_one_provider_is_neither_measured_nor_kept(dummy, cache, monkeypatch):
    monkeypatch.setattr(fastest, "installed_providers", lambda: ["cpu"])
    perceiver = Perceiver(dummy, provider="auto")
    assert (perceiver.provider, perceiver.choice) == ("cpu", Choice("cpu", {}, {}))
    assert str(perceiver.choice) == "the only provider that is installed"
    assert not cache.exists()


def test_tensorrt_is_tried_only_if_its_engine_is_there(dummy, cache, measured, monkeypatch):
    monkeypatch.setattr(engines, "gpu", lambda: "a GPU")
    monkeypatch.setattr(fastest, "installed_providers", lambda: ["cpu", "tensorrt"])
    assert choose_provider(dummy).provider == "cpu" and measured == [] and not cache.exists()
    folder = engines.engine_folder(engines.read_info(dummy).sha256, {})
    (folder / "graph.engine").touch()
    assert choose_provider(dummy).provider == "cpu" and measured == ["cpu", "tensorrt"]


def test_installed_providers_are_those_of_onnx_runtime_and_of_the_package(monkeypatch):
    have = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: have)
    monkeypatch.setattr(fastest, "find_spec", lambda name: None)
    monkeypatch.setattr(fastest.fused_attention, "find_spec", lambda name: None)
    assert fastest.installed_providers() == ["cpu", "cuda"]
    monkeypatch.setattr(fastest, "find_spec", lambda name: name)
    assert fastest.installed_providers() == ["cpu", "cuda", "openvino", "openvino-bf16"]
    monkeypatch.setattr(fastest.fused_attention, "find_spec", lambda name: name)
    assert fastest.installed_providers()[:2] == ["cpu", "cpu-fused"]


PROGRAM = """
from emu_core.runtime.perceiver import Perceiver
import json
first, second = (Perceiver(provider="auto", threads=1) for _ in range(2))
first.verify()
found = (first.choice.provider, first.choice.milliseconds)
print(json.dumps([*found, second.provider, second.choice.remembered]))
"""


def test_the_real_engines_are_measured_and_one_of_them_is_used():
    pytest.importorskip("openvino")
    # Not in this process: later forks of a process with OpenVINO in bfloat16 crash it.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    provider, milliseconds, again, remembered = json.loads(done.stdout)
    assert {"cpu", "openvino"} <= set(milliseconds)
    assert provider == again == min(milliseconds, key=milliseconds.get) and remembered
    assert all(0.1 < ms < 60_000 for ms in milliseconds.values())
