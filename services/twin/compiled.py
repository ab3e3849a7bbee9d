"""Where compiled kernels are kept.

Numba's cache looks at the file a function stands in, not at the functions it
calls: after an edit of a called module it serves stale machine code. So the
cache has one folder per state of the sources, named by a hash over them, over
numba's version and over the processor. The environment variable must be set
before numba is imported, which is why nothing here imports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import llvmlite.binding as llvm  # type: ignore[import-untyped]

import twinward.learning
import twinward.physiology
from twinward.errors import Unready


def kernel_files() -> list[Path]:
    """Every source that can end up in machine code."""
    packages = [Path(next(iter(package.__path__))) for package in (twinward.physiology, twinward.learning)]
    return [
        *(file for package in packages for file in package.rglob("*.py")),
        *Path(__file__).parent.glob("glucose*.py"),
    ]


def source_hash(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over `files`, numba's version and this processor."""
    digest = hashlib.sha256()
    for word in (importlib.metadata.version("numba"), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()):
        digest.update(word.encode() + b"\0")
    for file in sorted(files):
        body = file.read_bytes()
        digest.update(f"{file.parent.name}/{file.name}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def use_cache(cache_dir: Path, files: Iterable[Path] | None = None) -> Path:
    """Points numba at the folder of today's sources and returns it; `files` are the
    kernels' own unless told otherwise.

    Raises:
        Unready: numba is imported already and would not see the folder.
    """
    if "numba" in sys.modules:
        raise Unready("numba was imported before its cache was set; set the cache first")
    folder = cache_dir / source_hash(kernel_files() if files is None else files)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def warm_once(folder: Path, name: str, warm: Callable[[], None]) -> bool:
    """Calls `warm` in turn unless some program has done so under this `name` before: then the machine code is on disk,
    and who may never need it need not load it. Whether it was called."""
    mark = folder / f".warmed-{name}"
    if mark.exists():
        return False
    warm_in_turn(folder, warm)
    mark.touch()
    return True


def warm_in_turn(folder: Path, warm: Callable[[], None]) -> None:
    """Calls `warm` while no other process compiles into `folder`: the second one finds the
    machine code of the first instead of compiling the same again beside it."""
    with (folder / ".turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        warm()
