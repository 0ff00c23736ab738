"""Open MuJoCo with off-screen OpenGL. Importing this module does not import MuJoCo."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mujoco


class RenderingError(RuntimeError):
    """Rendering is impossible on this machine; the message says what to install or to set."""


def import_mujoco() -> ModuleType:
    """Import MuJoCo with an off-screen OpenGL backend.

    Raises:
        RenderingError: MuJoCo is not installed, or the OpenGL library is missing.
    """
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it at import
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise RenderingError(
            f"Rendering drives needs MuJoCo, but the Python module {error.name!r} is missing: "
            "pip install mujoco."
        ) from error
    except Exception as error:  # PyOpenGL raises several types if its library is missing
        raise _no_context(error) from error
    return mujoco


def open_renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """Open an off-screen renderer for images of height × width pixels; the caller closes it.

    Raises:
        RenderingError: no OpenGL context can be created.
    """
    mujoco = import_mujoco()
    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # ImportError, RuntimeError, mujoco.FatalError, EGLError …
        raise _no_context(error) from error


def _no_context(error: Exception) -> RenderingError:
    backend = os.environ.get("MUJOCO_GL", "")
    return RenderingError(
        f"MuJoCo cannot open an off-screen OpenGL context (MUJOCO_GL={backend!r}: {error}). "
        "Install EGL (Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri) or set "
        "MUJOCO_GL to an available backend: egl, osmesa or glfw."
    )
