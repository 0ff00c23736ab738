"""Errors of MuJoCo with off-screen OpenGL. Importing this module does not import MuJoCo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class RenderingError(RuntimeError):
    """Rendering is impossible on this machine; the message gives the remedy."""


@contextmanager
def off_screen() -> Iterator[None]:
    """Choose an OpenGL backend for a block that imports MuJoCo or opens a renderer.

    Raises:
        RenderingError: MuJoCo is not installed, the OpenGL library is missing, or no OpenGL
            context can be created.
    """
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it at import
        # Mesa and the driver of NVIDIA would keep their shaders in the home folder.
        os.environ.setdefault("MESA_SHADER_CACHE_DISABLE", "true")
        os.environ.setdefault("__GL_SHADER_DISK_CACHE", "0")
    try:
        yield
    except ModuleNotFoundError as error:
        raise RenderingError(
            f"Rendering drives needs MuJoCo, but the Python module {error.name!r} is missing: "
            "pip install mujoco."
        ) from error
    except Exception as error:  # ImportError, RuntimeError, mujoco.FatalError, EGLError …
        backend = os.environ.get("MUJOCO_GL", "")
        raise RenderingError(
            f"MuJoCo cannot open an off-screen OpenGL context (MUJOCO_GL={backend!r}: {error}). "
            "Install EGL (Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri) or set "
            "MUJOCO_GL to an available backend: egl, osmesa or glfw."
        ) from error
