"""Engines: providers, fallbacks, options that reach ONNX Runtime, and TensorRT's cache."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from emu_core.runtime import engines
from emu_core.runtime.dummy_model import dummy_outputs
from emu_core.runtime.engines import FACTS, ProviderError, cache_root, engine_folder
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver

TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))


@pytest.fixture(autouse=True)
def own_cache(cache):
    """No test uses the folder of this user."""


@pytest.fixture
def available(monkeypatch):
    """Function that sets the providers that ONNX Runtime claims to have."""
    return lambda *names: monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: list(names)
    )


def on_the_cpu(path, options, providers):
    return onnxruntime.InferenceSession(str(path), options, [CPU])


@pytest.fixture
def requests(monkeypatch, available):
    """Provider lists that ONNX Runtime receives. It claims to use the GPU and uses the CPU."""
    received = []

    def open_session(path, options, providers):
        received.append(providers)
        session = on_the_cpu(path, options, providers)
        monkeypatch.setattr(session, "get_providers", lambda: [providers[0][0], CPU])
        return session

    available(TENSORRT, CUDA, CPU)
    monkeypatch.setattr(engines, "open_session", open_session)
    return received


def test_the_cpu_session_is_bounded_and_does_not_spin(dummy):
    options = engines.open_engine(dummy, "cpu", threads=3).session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_provider_that_this_runtime_lacks_is_refused(dummy, available):
    available(CPU)
    with pytest.raises(ProviderError, match=r"'cuda' .*built without it"):
        Perceiver(dummy, provider="cuda")
    assert Perceiver(dummy, provider="cuda", allow_cpu_fallback=True).provider == "cpu"


def test_a_silent_fallback_is_detected(dummy, monkeypatch, available):
    available(CUDA)
    monkeypatch.setattr(engines, "open_session", on_the_cpu)
    with pytest.raises(ProviderError, match="fell back to the CPU"):
        Perceiver(dummy, provider="cuda")


def test_a_failing_provider_and_a_damaged_file_are_told_apart(
    dummy, tmp_path, monkeypatch, available
):
    available(CUDA)

    def fail(path, options, providers):
        raise RuntimeError("libcublas.so: cannot open")

    monkeypatch.setattr(engines, "open_session", fail)
    with pytest.raises(ProviderError, match="libcublas"):
        Perceiver(dummy, provider="cuda")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"garbage\.onnx"):
        Perceiver(garbage, provider="cuda")


@pytest.mark.parametrize("provider", ["openvino", "openvino-bf16"])
def test_openvino_that_is_not_installed_is_refused(dummy, monkeypatch, available, provider):
    available(CPU)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ProviderError, match=r"openvino is not installed.*pip install openvino"):
        Perceiver(dummy, provider=provider)
    assert Perceiver(dummy, provider=provider, allow_cpu_fallback=True).provider == "cpu"


def test_the_package_openvino_gives_the_outputs_of_the_cpu(dummy, available):
    pytest.importorskip("openvino", reason="needs the package openvino")
    available(CPU)
    perceiver = Perceiver(dummy, provider="openvino", threads=1)
    assert perceiver.provider == "openvino"
    perceiver.verify()
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    results = [perceiver.perceive(image) for image in images]  # the second run keeps the first
    for image, result in zip(images, results, strict=True):
        for name, expected in dummy_outputs(image).items():
            np.testing.assert_allclose(getattr(result, name), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_keeps_half_precision_tolerances():
    openvino = pytest.importorskip("openvino", reason="needs the package openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16 instructions")
    errors = Perceiver(provider="openvino-bf16", threads=1).verify()
    assert errors["label_uncertainty_abs"] > 1e-4  # it is not single precision


def test_the_folder_changes_with_everything_that_the_engine_depends_on(monkeypatch):
    folders = [engine_folder("a" * 64, {"trt_fp16_enable": "1"})]
    assert folders[0].parent == cache_root()
    assert engine_folder("a" * 64, {"trt_fp16_enable": "1"}) == folders[0]
    folders.append(engine_folder("b" * 64, {"trt_fp16_enable": "1"}))
    folders.append(engine_folder("a" * 64, {}))
    for module, name, value in (
        (engines, "gpu", lambda: "another one, 570.1"),
        (engines, "tensorrt_version", lambda: "100300"),
        (onnxruntime, "__version__", "0.0"),
    ):
        monkeypatch.setattr(module, name, value)
        folders.append(engine_folder("a" * 64, {}))
    assert len(set(folders)) == 6
    assert json.loads((folders[-1] / FACTS).read_text()) == {
        "model": "a" * 64,
        "options": {},
        "onnxruntime": "0.0",
        "tensorrt": "100300",
        "gpu": "another one, 570.1",
    }


def test_the_cache_is_in_the_users_cache_folder(monkeypatch):
    monkeypatch.delenv("EMU_ENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_root() == Path("/caches/emu/engines")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/robot")
    assert cache_root() == Path("/home/robot/.cache/emu/engines")


@pytest.mark.parametrize("provider", ["tensorrt", "tensorrt-fp16"])
def test_tensorrt_keeps_its_engine_in_the_models_folder(requests, dummy, provider):
    perceiver = Perceiver(dummy, provider=provider)
    assert perceiver.provider == provider
    [[(name, options), (second, _), last]] = requests
    assert (name, second, last) == (TENSORRT, CUDA, CPU)
    own = {n: v for n, v in options.items() if "cache" not in n}
    folder = str(engine_folder(perceiver.info.sha256, own))
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == folder
    assert own.get("trt_fp16_enable") == ("1" if provider == "tensorrt-fp16" else None)


def test_tensorrt_runs_without_a_cache_if_the_folder_is_not_writable(requests, dummy, cache):
    cache.write_text("in the way")
    Perceiver(dummy, provider="tensorrt")
    assert requests[0][0] == (TENSORRT, {})


def test_gpu_and_tensorrt_are_empty_where_there_are_none_and_a_jetson_is_named(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engines, "_JETSON", tmp_path / "model")
    monkeypatch.setattr(engines, "_TENSORRT_LIBRARIES", ("libnone.so",))
    assert (engines.gpu(), engines.tensorrt_version()) == ("", "")
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert engines.gpu() == "NVIDIA Jetson Orin Nano Developer Kit"
