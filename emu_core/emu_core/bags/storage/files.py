"""Data files of a rosbag2 bag: read and check metadata.yaml, find and open the files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from emu_core.bags.errors import BagError
from emu_core.bags.storage import mcap, sqlite
from emu_core.bags.storage.compression import zstd
from emu_core.bags.storage.data_file import DataFile
from emu_core.bags.storage.mcap_file import McapFile
from emu_core.files import lfs_problem, visible_entries

_STORAGES = {"mcap": ".mcap", "sqlite3": ".db3"}
_PACKED = (".zstd", ".zst")
_NEWEST_METADATA = 9
ZSTD = b"\x28\xb5\x2f\xfd"
"""First bytes of what is compressed with zstd."""

_FOREIGN = {
    b"#ROSBAG": "is a ROS 1 bag: convert it with `rosbags-convert` of rosbags",
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"BZh": "is compressed with bzip2: unpack it first",
    b"\xfd7zXZ\0": "is compressed with xz: unpack it first",
    b"\x04\x22\x4d\x18": "is compressed with lz4: unpack it first",
    b"PK\x03\x04": "is a zip archive: unpack it first",
}
"""First bytes of files that people mistake for rosbag2 bags, and what to do."""


@dataclass(frozen=True)
class BagFiles:
    """Data files of a bag; `skipped` maps the names of others in its folder to the reason."""

    files: list[Path]
    metadata: dict = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def find_files(path: Path, salvage: bool) -> BagFiles:
    """Find the data files of a bag, and the content of its metadata.yaml (empty without one).

    Raises:
        BagError: There is no bag, files are missing (unless `salvage`), or metadata.yaml is
            damaged or of an unknown version.
    """
    try:
        if path.is_file():
            return BagFiles([path])
        if not path.exists():
            raise BagError(
                f"no bag at {path}: give the folder of a rosbag2 recording, "
                "or its .mcap or .db3 file"
            )
        there = [file for file in visible_entries(path) if _is_data(file)]
        if (path / "metadata.yaml").exists():
            return _listed_files(path, there, salvage)
        return _all_files(path, there)
    except OSError as error:
        raise BagError(f"cannot read {path}: {reason(error)}") from error


def _is_data(file: Path) -> bool:
    """Whether a file has the name of a data file, plain or compressed."""
    known = (*_STORAGES.values(), ".bag", *_PACKED)
    return any(suffix.lower() in known for suffix in file.suffixes) and file.is_file()


def _plain_name(name: str) -> str:
    """Name of a data file without the suffix of its compression."""
    return next((name.removesuffix(end) for end in _PACKED if name.endswith(end)), name)


def _listed_files(folder: Path, there: list[Path], salvage: bool) -> BagFiles:
    """The files that metadata.yaml lists.

    A recorder that is killed may list a file by the name that it has before or after compression.
    """
    metadata = _read_metadata(folder)
    names = dict.fromkeys(PurePath(name).name for name in metadata["relative_file_paths"])
    files: list[Path] = []
    missing: list[str] = []
    for name in names:
        variants = (name, *(_plain_name(name) + end for end in ("", *_PACKED)))
        found = [folder / variant for variant in variants if (folder / variant).is_file()]
        if found:
            files.append(found[0])
        else:
            missing.append(name)
    if not names or (missing and not (salvage and files)):
        problem = ", ".join(missing) or "none is listed"
        advice = "; read the others with --salvage" if files else ""
        raise BagError(f"{folder}: data files are missing: {problem}{advice}")
    skipped = {f.name: "metadata.yaml does not list it" for f in there if f not in files}
    return BagFiles(files, metadata, {**dict.fromkeys(missing, "it is missing"), **skipped})


def _all_files(folder: Path, there: list[Path]) -> BagFiles:
    """All data files of a folder without metadata.yaml; of a plain and a packed one, the plain."""
    skipped = {}
    names = {file.name for file in there}
    for file in there:
        plain = _plain_name(file.name)
        if plain != file.name and plain in names:
            skipped[file.name] = f"{plain} is read"
        elif problem := _foreign(_head(file)):
            skipped[file.name] = f"it {problem}"
    files = [file for file in there if file.name not in skipped]
    if not files:
        others = "".join(f"; {name}: {why}" for name, why in skipped.items())
        raise BagError(
            f"{folder} is not a bag: it has no metadata.yaml and no .mcap or .db3 files{others}"
        )
    return BagFiles(files, {}, skipped)


def _read_metadata(folder: Path) -> dict:
    """Read and check metadata.yaml."""
    file = folder / "metadata.yaml"
    advice = f"repair it with `ros2 bag reindex {folder}`, or give the data file instead"
    if problem := lfs_problem(file):
        raise BagError(problem)
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        metadata = dict(content["rosbag2_bagfile_information"])
        version = int(metadata["version"])
        storage = metadata["storage_identifier"]
        metadata["relative_file_paths"] = [str(name) for name in metadata["relative_file_paths"]]
        for entry in metadata["topics_with_message_count"]:
            entry["topic_metadata"]["name"], int(entry.get("message_count", 0))
        int(metadata.get("message_count", 0))
    except KeyError as error:
        raise BagError(f"{file} is damaged, {error} is missing: {advice}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise BagError(f"{file} is damaged in line {line} ({error.problem}): {advice}") from error
    except (YAMLError, UnicodeDecodeError, TypeError, ValueError, AttributeError) as error:
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
    return metadata


def open_file(file: Path, stack: ExitStack, salvage: bool) -> DataFile:
    """Open one data file, or its unpacked or repaired copy; its content tells its kind.

    Args:
        file: Data file.
        stack: Closes the reader and deletes the copy at its end.
        salvage: Read the complete part of a truncated file instead of refusing it.

    Raises:
        BagError: The file is damaged, truncated or of an unknown kind.
    """
    try:
        head = _head(file)
        if problem := lfs_problem(file) or _foreign(head):
            raise BagError(problem if problem.startswith(str(file)) else f"{file} {problem}")
        if not (_is_data(file) or head.startswith((ZSTD, mcap.MAGIC, sqlite.MAGIC))):
            raise BagError(f"{file} is not a bag: give a folder or a .mcap or .db3 file")
        plain, complete = file, True
        if head.startswith(ZSTD):
            plain, complete = _unpacked(file, stack)
            head = _head(plain)
        if not complete or (mcap.is_truncated(plain) or _journals(plain)):
            if not salvage:
                raise BagError(
                    f"{file} is truncated: it was not recorded or copied to its end. Copy it "
                    "again, or read the part that exists with --salvage"
                )
            plain = _repaired_copy(plain, _temporary_folder(stack))
        if not head.startswith((mcap.MAGIC, sqlite.MAGIC)):
            raise ValueError("File magic is invalid" if head else "it is empty")
        opened: DataFile
        opened = McapFile(plain) if head.startswith(mcap.MAGIC) else sqlite.SqliteFile(plain)
        stack.callback(opened.close)
        return opened
    except BagError:
        raise
    except Exception as error:
        raise BagError(
            f"{file} is damaged or not a bag file: {reason(error)}. Copy or record it again"
        ) from error


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(16)


def _foreign(head: bytes) -> str | None:
    """What a file is that is no rosbag2 data file, and what to do; None if it may be one."""
    return next((problem for mark, problem in _FOREIGN.items() if head.startswith(mark)), None)


def _unpacked(file: Path, stack: ExitStack) -> tuple[Path, bool]:
    """Unpack a file; returns the copy and whether the file was complete."""
    plain = _temporary_folder(stack) / _plain_name(file.name)
    with zstd.open(file, "rb") as packed, plain.open("wb") as unpacked:
        try:
            shutil.copyfileobj(packed, unpacked)
        except EOFError:
            return plain, False
    return plain, True


def _temporary_folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory(prefix="emu_bag_")))


def _journals(file: Path) -> list[Path]:
    """Files that sqlite3 leaves next to a database after an interrupted transaction."""
    journals = [file.with_name(file.name + suffix) for suffix in ("-journal", "-wal")]
    return [journal for journal in journals if journal.exists() and journal.stat().st_size]


def _repaired_copy(file: Path, folder: Path) -> Path:
    """Copy all complete messages of a data file that its recorder did not finish."""
    copy = Path(shutil.copy(file, folder))
    if _head(file).startswith(mcap.MAGIC):
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
