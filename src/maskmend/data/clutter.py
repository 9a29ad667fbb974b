"""What systems leave in folders by themselves, and nobody means: it is nothing, wherever files are counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CLUTTER = {".ds_store", "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir"}
"""Of macOS, Windows and Synology, in lower case; beside ``._x``, which macOS writes for a file ``x``."""


def is_clutter(path: Path) -> bool:
    return path.name.startswith("._") or path.name.lower() in CLUTTER


def meant(folder: Path) -> Iterator[Path]:
    """What is in a folder, by name, but clutter and what is hidden."""
    return (path for path in sorted(folder.iterdir()) if not (path.name.startswith(".") or is_clutter(path)))
