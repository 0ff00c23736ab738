"""MuJoCo with its off-screen OpenGL, or a message that says what to install.

Importing this module imports MuJoCo; it raises `RenderingError` where that fails.
"""

from __future__ import annotations

import os
import sys

from emu_core.drives.rendering_error import RenderingError


def _no_context(error: Exception) -> RenderingError:
    backend = os.environ.get("MUJOCO_GL", "")
    return RenderingError(
        f"MuJoCo cannot open an off-screen OpenGL context (MUJOCO_GL={backend!r}: {error}). "
        "Install EGL (Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri) or set "
        "MUJOCO_GL to a backend that this machine has: egl, osmesa or glfw."
    )


if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it when it is imported
try:
    import mujoco
except ModuleNotFoundError as error:
    raise RenderingError(
        f"Rendering drives needs MuJoCo, but there is no Python module {error.name!r}: "
        "pip install mujoco."
    ) from error
except Exception as error:  # PyOpenGL fails in several ways where its library is missing
    raise _no_context(error) from error


def open_renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    """An off-screen renderer for pictures of height × width; close it after use.

    Raises:
        RenderingError: no OpenGL context can be made.
    """
    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # ImportError, RuntimeError, mujoco.FatalError, EGLError …
        raise _no_context(error) from error
