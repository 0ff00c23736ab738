"""The Fast DDS profile for images: how a process gets it, and what it opened.

A process reads the profile when it creates its first DDS participant. So `use_profile` has to run
before `rclpy.init`, or the parent process has to set the variables of `environment`.

The profile's shared-memory segment may not fit into /dev/shm: a container has 64 MB there. Fast
DDS then goes on without shared memory. So there are profiles of several sizes, and `shared_memory`
tells what the process really has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second."""

USER_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")
"""Files that Fast DDS 2 and 3 read from the working directory."""

TRANSPORTS_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"

STOCK_SEGMENT = 512 * 1024
"""Bytes of Fast DDS's default shared-memory segment."""

SEGMENTS = {64 << 20: "fastdds.xml", 16 << 20: "fastdds_16mb.xml", 4 << 20: "fastdds_4mb.xml"}
"""Bytes of the segments of our profiles, the largest first, and the profiles' names."""

_OVERHEAD = 1.06
"""Size of a segment's file relative to the segment."""

_CHILDREN = 3
"""Processes that are started together, and need a segment each."""

SHM = Path("/dev/shm")
_SEGMENT_LOCK = re.compile(r"(fast(?:rtps|dds)_[0-9a-f]+)_el")

_CONTAINER = "run the container with --ipc=host or --shm-size=1g"
_ZENOH = (
    "large messages need Zenoh's shared memory: set transport/shared_memory/enabled to true in "
    "the session configuration of every node and in that of the router (ZENOH_SESSION_CONFIG_URI, "
    "ZENOH_ROUTER_CONFIG_URI, or ZENOH_CONFIG_OVERRIDE)"
)


def config_folder() -> Path:
    """Return share/emu_perception/config of this installation; without one, that of the sources.

    Users look for the files there and change them there.
    """
    here = Path(__file__)
    shares = (parent / "share" / "emu_perception" / "config" for parent in here.parents)
    return next(filter(Path.is_dir, shares), here.parents[1] / "config")


@dataclass(frozen=True)
class Transport:
    """How messages leave and reach this process; sizes are in bytes.

    Attributes:
        middleware: Name of the RMW implementation.
        segment: The largest shared-memory segment that Fast DDS opened here; 0 without one.
        total: Size of /dev/shm; 0 if there is none.
        free: The free part of it.
        choice: How the user chose the transports, see `user_choice`; empty without a choice.
        excluded: Whether the user chose transports without shared memory.
    """

    middleware: str
    segment: int
    total: int
    free: int
    choice: str = ""
    excluded: bool = False

    @property
    def is_fast_dds(self) -> bool:
        return "fastrtps" in self.middleware

    @property
    def may_lose(self) -> bool:
        """Whether large messages get lost or stall with this middleware's default settings."""
        return self.is_fast_dds or "zenoh" in self.middleware

    @property
    def scarce(self) -> bool:
        """Whether /dev/shm has no room for a large segment in each of several processes."""
        return _fitting(self.total) != max(SEGMENTS) or not _fitting(self.free)

    def advice(self) -> str:
        """Return what to do if large images get lost on their way to this process."""
        if not self.is_fast_dds:
            return _ZENOH
        if self.excluded:
            return (
                f"{self.choice} excludes shared memory: raise net.core.rmem_max, or set "
                f"{TRANSPORTS_VARIABLE}=LARGE_DATA in all processes"
            )
        old, new = PROFILE_VARIABLES
        size = _fitting(self.total) or min(SEGMENTS)
        text = (
            f"raw images above 512 KB need {old}={profile(size)} (Kilted and later: {new}) in the "
            "camera driver"
        )
        return f"{self._space()}: {_CONTAINER}; {text}" if self.scarce else text

    def problem(self, size: int) -> str:
        """Return why messages of a size from this process may be delayed; empty if they are not.

        What counts is the segment that exists, not the one that was configured.
        """
        if not self.is_fast_dds or self.excluded or self.segment >= size:
            return ""
        has = f"has {_mb(self.segment)}" if self.segment else "could not be opened"
        text = f"the shared-memory segment of this process {has}"
        if self.scarce:
            return f"{text}; {self._space()}: {_CONTAINER}"
        return (
            f"{text} ({self.choice}): use the transports of {profile()}" if self.choice else text
        )

    def _space(self) -> str:
        return f"/dev/shm has {_mb(self.free)} of {_mb(self.total)} free"

    def __str__(self) -> str:
        if not self.is_fast_dds:
            return self.middleware
        segment = f"segment of {_mb(self.segment)}" if self.segment else "no shared memory"
        parts = (self.middleware, segment, self.choice, self._space())
        return ", ".join(filter(None, parts))


def transport(
    middleware: str, shm: Path = SHM, descriptors: Path = Path("/proc/self/fd")
) -> Transport:
    """Return the transport of this process, after it has created its node.

    A process keeps the lock file of each of its own segments open, but of no other segment.
    """
    sizes = [0]
    for descriptor in descriptors.iterdir() if descriptors.is_dir() else ():
        try:
            target = Path(os.readlink(descriptor))
            if target.parent == shm and (lock := _SEGMENT_LOCK.fullmatch(target.name)):
                sizes.append((shm / lock[1]).stat().st_size)
        except OSError:  # closed meanwhile
            continue
    choice = user_choice()
    return Transport(middleware, max(sizes), *_space(shm), choice, _excludes_shm(choice))


def profile(segment: int = max(SEGMENTS)) -> Path:
    """Return the path of our profile with a segment of this size."""
    return config_folder() / SEGMENTS[segment]


def environment(
    given: Mapping[str, str] = os.environ, processes: int = _CHILDREN
) -> dict[str, str]:
    """Return the variables that add our profile to the environment of some processes.

    There are none if the user chose otherwise (see `user_choice`), or if /dev/shm has no room for
    larger segments than Fast DDS's own.
    """
    size = None if user_choice(given) else _fitting(_space(SHM)[1], processes)
    return dict.fromkeys(_variables_that_are_read(), str(profile(size))) if size else {}


def user_choice(given: Mapping[str, str] = os.environ, folder: Path = Path()) -> str:
    """Return the variable or file by which a user chose transports; empty without a choice.

    These are: another middleware, the transports of Fast DDS, or a profile that is not ours, also
    in the working directory `folder`.
    """
    middleware = given.get("RMW_IMPLEMENTATION", "")
    if middleware and "fastrtps" not in middleware:
        return f"RMW_IMPLEMENTATION={middleware}"
    if transports := given.get(TRANSPORTS_VARIABLE):
        return f"{TRANSPORTS_VARIABLE}={transports}"
    for name in PROFILE_VARIABLES:
        if (value := given.get(name)) and not _is_ours(value):
            return f"{name}={value}"
    return next((name for name in USER_FILES if (folder / name).is_file()), "")


def use_profile() -> None:
    """Use our profile in this process, unless the user chose otherwise."""
    for name in PROFILE_VARIABLES:
        if _is_ours(os.environ.get(name, "")):  # set by a parent process, with its free memory
            del os.environ[name]
    os.environ.update(environment(processes=2))  # the camera's driver may start later


def _variables_that_are_read() -> tuple[str, ...]:
    """The one variable that the installed ROS reads; both if that is unknown.

    With Fast DDS 3, every process warns of the old variable.
    """
    try:
        version = metadata.version("rclpy")
    except metadata.PackageNotFoundError:
        return PROFILE_VARIABLES
    is_new = int(version.partition(".")[0]) >= 9  # rclpy 9 is that of Kilted
    return (PROFILE_VARIABLES[is_new],)


def _is_ours(path: str) -> bool:
    """Whether a file is one of our profiles, or a copy of it, as in an install space."""
    try:
        content = Path(path).read_bytes() if path else b""
    except OSError:
        return False
    return any(content == profile(size).read_bytes() for size in SEGMENTS)


def _excludes_shm(choice: str) -> bool:
    """Whether a user's choice is one without shared memory."""
    name, _, value = choice.partition("=")
    if name == TRANSPORTS_VARIABLE:
        return value.upper().startswith(("UDP", "NONE"))
    try:
        text = Path(value or name).read_text() if choice else ""
    except (OSError, UnicodeDecodeError):  # Fast DDS reports it and uses its default
        return False
    builtin = re.search(r"useBuiltinTransports>\s*(false|0)\s*<", text)
    return bool(builtin) and "SHM" not in text


def _fitting(free: int, processes: int = _CHILDREN) -> int | None:
    """Bytes of our largest segment of which the free memory has room for some; None for none."""
    return next((size for size in SEGMENTS if size * _OVERHEAD * processes <= free), None)


def _space(shm: Path) -> tuple[int, int]:
    """Total and free bytes of the shared memory."""
    try:
        found = os.statvfs(shm)
    except OSError:
        return 0, 0
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _mb(size: int) -> str:
    return f"{size / (1 << 20):.1f} MB"
