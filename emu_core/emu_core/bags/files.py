"""Data files of a rosbag2 bag: read and check metadata.yaml, find and open the files it lists."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import ExitStack, closing
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from rosbags.rosbag2 import Reader
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from emu_core.bags import mcap
from emu_core.bags.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_STORAGES = {"mcap": ".mcap", "sqlite3": ".db3"}
_NEWEST_METADATA = 9


def find_files(path: Path) -> tuple[list[Path], dict]:
    """Data files of a bag, and the content of its metadata.yaml (empty if there is none).

    Raises:
        BagError: There is no bag, or metadata.yaml is damaged or of an unknown version.
    """
    try:
        if path.is_file():
            return [path], {}
        if not path.exists():
            raise BagError(
                f"no bag at {path}: give the folder of a rosbag2 recording, "
                "or its .mcap or .db3 file"
            )
        if (path / "metadata.yaml").exists():
            metadata = _read_metadata(path)
            names = metadata["relative_file_paths"]
            return [path / PurePath(name).name for name in names], metadata
        files = sorted(f for f in path.iterdir() if f.suffix in _STORAGES.values())
    except OSError as error:
        raise BagError(f"cannot read {path}: {reason(error)}") from error
    if not files:
        raise BagError(f"{path} is not a bag: it has no metadata.yaml and no .mcap or .db3 files")
    return files, {}


def _read_metadata(folder: Path) -> dict:
    """Read and check metadata.yaml; `compression_mode` becomes lower case."""
    file = folder / "metadata.yaml"
    advice = f"repair it with `ros2 bag reindex {folder}`, or give the data file instead"
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        metadata = dict(content["rosbag2_bagfile_information"])
        version = int(metadata["version"])
        storage = metadata["storage_identifier"]
        names = [str(name) for name in metadata["relative_file_paths"]]
        for entry in metadata["topics_with_message_count"]:
            entry["topic_metadata"]["name"]
    except KeyError as error:
        raise BagError(f"{file} is damaged, {error} is missing: {advice}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise BagError(f"{file} is damaged in line {line} ({error.problem}): {advice}") from error
    except (YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise BagError(f"{file} is damaged or does not describe a bag: {advice}") from error
    if version > _NEWEST_METADATA:
        raise BagError(
            f"{file} has version {version}, but only versions up to {_NEWEST_METADATA} are "
            "supported: give the .mcap or .db3 file instead"
        )
    if storage not in _STORAGES:
        raise BagError(
            f"{folder} uses the storage {storage!r}, but only {', '.join(_STORAGES)} are "
            "supported: convert it with `ros2 bag convert`"
        )
    mode = str(metadata.get("compression_mode") or "none").lower()
    kind = metadata.get("compression_format") or "none"
    if mode not in ("none", "file", "message") or (mode != "none" and kind != "zstd"):
        raise BagError(
            f"{folder} is compressed with {kind!r} in mode {mode!r}, but only zstd of files or "
            "messages is supported: convert it with `ros2 bag convert`"
        )
    missing = [name for name in names if not (folder / PurePath(name).name).exists()]
    if missing or not names:
        problem = ", ".join(missing) or "none is listed"
        raise BagError(f"{folder}: data files are missing: {problem}")
    return {**metadata, "compression_mode": mode}


def open_file(file: Path, stack: ExitStack, salvage: bool) -> Reader:
    """Open one data file, or its unpacked or repaired copy.

    Args:
        file: Data file.
        stack: Closes the reader and deletes the copy at its end.
        salvage: Read the complete part of a truncated file instead of refusing it.

    Raises:
        BagError: The file is damaged, truncated or of an unknown kind.
    """
    if file.suffix == ".bag":
        raise BagError(f"{file} is a ROS 1 bag: convert it with `rosbags-convert` of rosbags")
    if file.suffix != ".zstd" and file.suffix not in _STORAGES.values():
        raise BagError(f"{file} is not a bag: give a folder or a .mcap or .db3 file")
    plain = file
    try:
        if file.suffix == ".zstd":
            plain = _temporary_folder(stack) / file.stem
            with zstd.open(file, "rb") as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        if mcap.is_truncated(plain) if plain.suffix == ".mcap" else _journals(plain):
            if not salvage:
                raise BagError(
                    f"{file} is truncated: it was not recorded or copied to its end. Copy it "
                    "again, or read the part that exists with --salvage"
                )
            plain = _repaired_copy(plain, _temporary_folder(stack))
        return stack.enter_context(Reader(plain))
    except BagError:
        raise
    except Exception as error:
        raise BagError(
            f"{file} is damaged or not a bag file: {reason(error)}. Copy or record it again"
        ) from error


def _temporary_folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory(prefix="emu_bag_")))


def _journals(file: Path) -> list[Path]:
    """Files that sqlite3 leaves next to a database after an interrupted transaction."""
    journals = [file.with_name(file.name + suffix) for suffix in ("-journal", "-wal")]
    return [journal for journal in journals if journal.exists() and journal.stat().st_size]


def _repaired_copy(file: Path, folder: Path) -> Path:
    """Copy all complete messages of a data file that its recorder did not finish."""
    copy = Path(shutil.copy(file, folder))
    if file.suffix == ".mcap":
        mcap.repair(copy)
        return copy
    for journal in _journals(file):
        shutil.copy(journal, folder)
    with closing(sqlite3.connect(copy)) as database:
        database.execute("PRAGMA journal_mode=DELETE")  # applies or rolls back the journal
    return copy


def reason(error: Exception) -> str:
    """Describe an exception of another library in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if " " in text else f"{type(error).__name__} {text}".rstrip()
