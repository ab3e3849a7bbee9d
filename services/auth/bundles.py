"""Bundle files on disk: appended, on disk before `append` returns, never changed.

Order of durable writes inside one append: the frame's bytes, fdatasync of the
file, and for a new file fsync of the folder. A frame that could not be written
whole is cut off again, at once or at the next start; nobody was answered for it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from twinward.errors import Incomplete, Tampered, Unavailable
from twinward.ledger.bundles import Frame, Torn, files, first_of, frames, name_of

ROTATE_ENTRIES = 16_384


@dataclass(frozen=True, slots=True)
class Tail:
    """What `read` found from a given size on."""

    boundary: Frame | None  # the frame that ends at that size; None at 0
    later: tuple[Frame, ...]  # those behind it


class BundleFiles:
    """The bundle files of one ledger. Used by one thread at a time.

    `rotate` entries start a new file, so that a start reads little.
    """

    def __init__(self, directory: Path, rotate: int = ROTATE_ENTRIES) -> None:
        self._directory = directory
        self._rotate = rotate
        self._file: int | None = None
        self._first = 0  # of the file that is written to
        self._good = 0  # bytes in it that are whole frames on disk
        self.size = 0  # entries in all files

    def read(self, size: int) -> Tail:
        """Frames from `size` on, and cuts off what a crash left unfinished.

        Raises:
            Incomplete: the files end before `size`.
            Tampered: they do not follow each other, or no frame ends at `size`.
            Unavailable: they cannot be read.
        """
        self.close()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            return self._read(size)
        except OSError as error:
            raise Unavailable("the ledger's bundle files cannot be read", detail=str(error)) from None

    def append(self, frame: Frame) -> None:
        """Raises Unavailable where it could not be put on disk; the files are then as before."""
        if frame.first != self.size:
            raise Tampered("a bundle frame does not continue where the files end")
        if frame.first - self._first >= self._rotate:
            self.close()
            self._first, self._good = frame.first, 0
        data = frame.encode()
        try:
            file = self._opened()
            _write_all(file, data, self._good)
            os.fdatasync(file)
            if self._good == 0:
                _sync_folder(self._directory)
        except OSError as error:
            self._cut()
            raise Unavailable(
                "the ledger's bundle files cannot be written, so nothing is released: make room on their disk",
                detail=str(error),
            ) from None
        self._good += len(data)
        self.size = frame.size

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read(self, size: int) -> Tail:
        found = [(first_of(path.name), path) for path in files(self._directory)]
        # The last file that begins before `size` holds the boundary; earlier ones are not needed.
        start = max((at for at, (first, _) in enumerate(found) if first < size), default=0)
        boundary: Frame | None = None
        later: list[Frame] = []
        self._first, self._good, self.size = (found[start][0] if found else 0), 0, 0
        self.size = self._first
        for place, (first, path) in enumerate(found[start:], start):
            if first != self.size:
                raise Tampered(f"bundle file {path.name} does not continue at entry {self.size}")
            data = path.read_bytes()
            self._first, self._good = first, len(data)
            for item in frames(data):
                if isinstance(item, Torn):
                    if place != len(found) - 1 or self.size < size:
                        raise _broken(path, self.size, size)
                    self._good = item.at
                    self._cut()
                    break
                _, frame = item
                if frame.first != self.size:
                    raise Tampered(f"a commit in bundle file {path.name} does not continue at entry {self.size}")
                self.size = frame.size
                if frame.size <= size:
                    boundary = frame
                else:
                    later.append(frame)
        if self.size < size:
            raise _broken(None, self.size, size)
        if size and (boundary is None or boundary.size != size):
            raise Tampered(f"no commit in the bundle files ends at entry {size}, where the head guard stands")
        return Tail(boundary, tuple(later))

    def _opened(self) -> int:
        if self._file is None:
            path = self._directory / name_of(self._first)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, self._good)
        return self._file

    def _cut(self) -> None:
        """Back to the last whole frame; the next `_opened` does it again where this fails."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._opened(), self._good)
        self.close()


def _broken(path: Path | None, have: int, size: int) -> Incomplete:
    where = f" in {path.name}" if path else ""
    return Incomplete(
        f"the bundle files break off at entry {have}{where}, and the head guard stands at {size}: "
        "put the missing files back from a copy; nothing is released until then"
    )


def _write_all(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _sync_folder(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
