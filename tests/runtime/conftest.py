"""Fixtures of the runtime's tests."""

import pytest

from emu_core.runtime.dummy_model import make_dummy_model


@pytest.fixture(scope="session")
def dummy(tmp_path_factory):
    """A dummy model file of 64x48 pixels with the canonical focal length 50."""
    folder = tmp_path_factory.mktemp("model")
    return make_dummy_model(folder / "dummy.onnx", (48, 64), canonical_focal=50.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folder of the engines and of the fastest providers; it is not made."""
    monkeypatch.setenv("EMU_ENGINE_CACHE", str(tmp_path / "engines"))
    return tmp_path / "engines"
