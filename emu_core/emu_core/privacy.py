"""Keep the packages that we use from the network and from the user's home folder.

`emu_core` calls `keep_private` when it is imported, before any of these packages. Variables that
the user has set stay as they are.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29 on
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment that turns the telemetry of packages off; they read it when they are imported."""


def keep_private() -> None:
    """Switch telemetry off, and let matplotlib keep its list of fonts outside the home folder."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    # OpenVINO and Datumaro send usage data through this package, and work without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if "MPLCONFIGDIR" not in os.environ and not _matplotlib_folder().is_dir():
        folder = _temporary_folder()
        if folder is not None:
            os.environ["MPLCONFIGDIR"] = str(folder)


def _matplotlib_folder() -> Path:
    """The folder of a user who has used matplotlib before, perhaps with settings."""
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(settings, "matplotlib")


def _temporary_folder() -> Path | None:
    """A temporary folder of this user; None if it cannot be had, or is somebody else's."""
    try:
        folder = Path(tempfile.gettempdir(), f"emu-matplotlib-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        # matplotlib executes code that its settings name, so nobody else may write them.
        return folder if folder.lstat().st_uid == os.getuid() else None
    except OSError:
        return None
