"""Small files of this program alone: mode 0600, and a reader sees the old or the new one, never half of one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from twinward.errors import Unready


def put(file: Path, content: bytes) -> None:
    """Beside it, onto the disk, then over it, and the folder's entry onto the disk as well.

    Raises:
        Unready: it cannot be written.
    """
    half = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        half.replace(file)
        _settle(file.parent)
    except OSError as error:
        raise Unready(
            f"cannot write {file.name}: check the space and the owner of data_dir", detail=str(error)
        ) from None


def remove(file: Path) -> None:
    """Gone after a crash too."""
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
        _settle(file.parent)


def _settle(folder: Path) -> None:
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def toml(values: Mapping[str, object]) -> bytes:
    """Flat keys only. A JSON string is a TOML string when it has no raw control characters."""
    lines = []
    for name, value in values.items():
        shown = str(value) if isinstance(value, Path) else value
        lines.append(f"{name} = {json.dumps(shown, ensure_ascii=False)}\n")
    return "".join(lines).encode()
