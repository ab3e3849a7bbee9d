"""`compiled`: how every kernel of physiology and learning is compiled.

Numba keeps machine code on disk keyed by the file that *defines* a kernel; a
change in a file it *calls* goes unseen and stale code would run. So the cache
folder is named by everything that can change an answer: the sources of
physiology, learning and the glucose twin, and the numba version (numba itself
keys on the CPU). Programs set NUMBA_CACHE_DIR with the same name below a folder of
their own user; everything else gets one below the user's cache folder, because machine
code that another user can write must never be loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("twinward/physiology/*.py", "twinward/learning/*.py", "services/twin/glucose*.py")

Scalar: TypeAlias = Any  # a float, or a pint quantity where a test proves dimensions
F = TypeVar("F", bound=Callable[..., object])


def fingerprint(root: Path = ROOT) -> str:
    """Hex digest of every source that ends up in a kernel, and of the compiler's version."""
    digest = hashlib.sha256(version("numba").encode())
    for pattern in SOURCES:
        for path in sorted(root.glob(pattern)):
            body = path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(body)}\n".encode() + body)
    return digest.hexdigest()[:16]


def use_cache(base: Path) -> Path:
    """Make numba keep its machine code below `base`; call before the first kernel is imported."""
    folder = base / fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def _default_cache() -> None:
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        use_cache(home / "twinward" / "numba")
    except OSError:
        os.environ.pop("NUMBA_CACHE_DIR", None)  # a home that cannot be written: numba's own choice


_default_cache()

import numba  # noqa: E402  (the cache folder has to be named first)


def compiled(function: F) -> F:
    """`function` as machine code: cached on disk, without the interpreter lock, exact arithmetic."""
    return cast(F, numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))


def equation(function: F) -> F:
    """A scalar equation, inlined where it is used; `.py_func` is the same on floats and quantities."""
    return cast(F, numba.njit(inline="always", nogil=True, error_model="numpy")(function))
