"""MkDocs hook: adds Markdown files from outside docs/ to the web site and adapts the links."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

ADDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "emu_core/emu_core/models/emu_b0_drives.md": "model_card.md",
}
"""File in the repository -> page of the web site."""

LINK = re.compile(r"(?<=\]\()(?!#|\w+:)([^)#\s]+)")
"""The path in a Markdown link to a file."""


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the files from outside docs/."""
    for source, page in ADDED.items():
        files.append(File.generated(config, page, abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links between files of the repository by links between pages."""
    uri = page.file.src_uri
    source = {page: source for source, page in ADDED.items()}.get(uri, f"docs/{uri}")

    def replace(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target in ADDED:
            target = f"docs/{ADDED[target]}"
        inside = target.startswith("docs/")
        return posixpath.relpath(target, posixpath.dirname(f"docs/{uri}")) if inside else match[1]

    return LINK.sub(replace, markdown)
