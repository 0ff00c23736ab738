"""TensorRT's engines: in one folder for all that they depend on; options reach ONNX Runtime."""

import json
from pathlib import Path

import onnxruntime
import pytest

from emu_core.runtime import engines as engine_cache
from emu_core.runtime import perceiver as perceiver_module
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.engines import FACTS, cache_root, engine_folder
from emu_core.runtime.perceiver import Perceiver

TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMU_ENGINE_CACHE", str(tmp_path / "engines"))
    return tmp_path / "engines"


@pytest.fixture
def asked(monkeypatch):
    """What ONNX Runtime is asked for, where it claims to have GPUs; it then runs on the CPU."""
    requests = []

    class Claiming:
        def __init__(self, session, first):
            self.session, self.first = session, first

        def get_providers(self):
            return [self.first, CPU]

        def __getattr__(self, name):
            return getattr(self.session, name)

    def open_session(path, options, providers):
        requests.append(providers)
        return Claiming(onnxruntime.InferenceSession(str(path), options, [CPU]), providers[0][0])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(perceiver_module, "open_session", open_session)
    return requests


def test_a_folder_changes_with_everything_that_the_engine_depends_on(monkeypatch):
    folders = [engine_folder("a" * 64, {"trt_fp16_enable": "1"})]
    assert folders[0].parent == cache_root()
    assert engine_folder("a" * 64, {"trt_fp16_enable": "1"}) == folders[0]
    folders.append(engine_folder("b" * 64, {"trt_fp16_enable": "1"}))
    folders.append(engine_folder("a" * 64, {}))
    monkeypatch.setattr(engine_cache, "gpu", lambda: "another one, 570.1")
    folders.append(engine_folder("a" * 64, {}))
    monkeypatch.setattr(engine_cache, "tensorrt_version", lambda: "100300")
    folders.append(engine_folder("a" * 64, {}))
    monkeypatch.setattr(onnxruntime, "__version__", "0.0")
    folders.append(engine_folder("a" * 64, {}))
    assert len(set(folders)) == len(folders)
    assert json.loads((folders[-1] / FACTS).read_text()) == {
        "model": "a" * 64,
        "options": {},
        "onnxruntime": "0.0",
        "tensorrt": "100300",
        "gpu": "another one, 570.1",
    }


def test_the_cache_lies_where_the_users_caches_are(monkeypatch):
    monkeypatch.delenv("EMU_ENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_root() == Path("/caches/emu/engines")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/robot")
    assert cache_root() == Path("/home/robot/.cache/emu/engines")


@pytest.mark.parametrize("provider", ["tensorrt", "tensorrt-fp16"])
def test_tensorrt_keeps_its_engine_in_the_models_folder(asked, tmp_path, provider):
    perceiver = Perceiver(make_dummy_model(tmp_path / "dummy.onnx", (48, 64)), provider=provider)
    assert perceiver.provider == provider
    [[(name, options), (second, _), last]] = asked
    assert (name, second, last) == (TENSORRT, CUDA, CPU)
    own = {n: v for n, v in options.items() if "cache" not in n}
    folder = str(engine_folder(perceiver.info.sha256, own))
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == folder
    assert own.get("trt_fp16_enable") == ("1" if provider == "tensorrt-fp16" else None)


def test_without_a_disk_to_write_to_it_runs_all_the_same(asked, tmp_path, cache):
    cache.write_text("in the way")
    Perceiver(make_dummy_model(tmp_path / "dummy.onnx", (48, 64)), provider="tensorrt")
    assert asked[0][0] == (TENSORRT, {})


def test_where_there_is_no_gpu_nothing_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engine_cache, "_JETSON", Path("/nowhere"))
    monkeypatch.setattr(engine_cache, "_TENSORRT", ("libnone.so",))
    assert (engine_cache.gpu(), engine_cache.tensorrt_version()) == ("", "")


def test_a_jetson_tells_its_model(monkeypatch, tmp_path):
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    monkeypatch.setattr(engine_cache, "_JETSON", tmp_path / "model")
    assert engine_cache.gpu() == "NVIDIA Jetson Orin Nano Developer Kit"
