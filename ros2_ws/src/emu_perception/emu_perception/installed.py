"""Which ROS packages this machine has: what launch files ask before they start anything."""

from __future__ import annotations

from collections.abc import Iterable

from .command_line import UserError


def is_installed(package: str) -> bool:
    """Whether the sourced ROS environment has a package."""
    from ament_index_python import has_resource

    try:
        return bool(has_resource("packages", package))
    except OSError:  # no ROS is sourced
        return False


def require(packages: Iterable[str], purpose: str) -> None:
    """Raise UserError if one is missing: launch leaves behind what it had started by then."""
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        names = " ".join(f"ros-$ROS_DISTRO-{package.replace('_', '-')}" for package in missing)
        raise UserError(
            f"{purpose} needs {' and '.join(missing)}, and the sourced ROS has none: "
            f"sudo apt install {names}, or build it from source and source that"
        )
