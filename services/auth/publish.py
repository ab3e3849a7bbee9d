"""The published ledger: tiles and checkpoint in files that anybody may copy.

Order of durable writes: every tile and entry bundle (written beside, fsync,
renamed), their folders, and the checkpoint last. Whoever sees a checkpoint finds
every tile it needs. The work of a publication follows the entries that are new:
what is kept from the one before is the unfinished tile of each level, and a
start reads exactly those back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from services.auth import ledger_rows
from services.auth.ledger_rows import Connection
from twinward.clock import Clock
from twinward.errors import BadInput, Tampered, TwinwardError, Unavailable
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger import tiles
from twinward.ledger.guardfile import Guarded
from twinward.ledger.note import Verifier
from twinward.ledger.tiles import ENTRIES, WIDTH
from twinward.ledger.tree import EMPTY_ROOT, leaf_hash, node_hash

CHECKPOINT = "checkpoint"
_READ_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class Published:
    """How far the files go; `trouble` says why they go no further."""

    size: int = 0
    at_ms: int = 0  # 0: nothing published yet
    trouble: str = ""


@dataclass(slots=True)
class _Front:
    """The unfinished tile of each level, and the entries of the unfinished bundle."""

    size: int = 0
    rows: list[list[bytes]] = field(default_factory=lambda: [[]])
    entries: list[bytes] = field(default_factory=list)

    def copy(self) -> _Front:
        return _Front(self.size, [list(row) for row in self.rows], list(self.entries))

    def root(self) -> bytes:
        """From the smallest complete subtree, which is the right-most, to the largest."""
        root: bytes | None = None
        for row in self.rows:
            end = len(row)
            for bit in range(8):
                if end and len(row) >> bit & 1:
                    part = tiles.root_of(row[end - (1 << bit) : end])
                    root = part if root is None else node_hash(part, root)
                    end -= 1 << bit
        return EMPTY_ROOT if root is None else root


class Publisher:
    """Publishes every `every_s` seconds and on demand; a thread of its own.

    `released` gives the head that may be published, `connect` a connection of role auth.
    """

    def __init__(
        self,
        released: Callable[[], Guarded],
        connect: Callable[[], Connection],
        directory: Path,
        verifier: Verifier,
        clock: Clock,
        every_s: float = 60.0,
    ) -> None:
        self._released = released
        self._connect = connect
        self._directory = directory
        self._verifier = verifier
        self._clock = clock
        self._every_s = every_s
        self._front: _Front | None = None
        self._connection: Connection | None = None
        self._one_at_a_time = threading.Lock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._published = Published()

    @property
    def published(self) -> Published:
        return self._published

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Publishes what is left, then ends."""
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(TwinwardError):
            self.publish()
        if self._connection is not None:
            self._connection.close()

    def publish(self) -> Published:
        """Everything released so far, now.

        Raises:
            Tampered: tiles on disk, database and signed head do not belong together.
            Unavailable: disk or database do not answer; the files are as before.
        """
        with self._one_at_a_time:
            try:
                self._publish(self._released())
            except TwinwardError as error:
                self._published = Published(self._published.size, self._published.at_ms, error.public)
                raise
            except (OSError, psycopg.Error) as error:
                sentence = "the ledger's tiles cannot be written: look at the disk of the ledger folder"
                self._published = Published(self._published.size, self._published.at_ms, sentence)
                if self._connection is not None:
                    self._connection.close()
                raise Unavailable(sentence, detail=str(error)) from None
            return self._published

    def _run(self) -> None:
        # At once too: a ledger without a checkpoint verifies as nothing.
        while True:
            with contextlib.suppress(TwinwardError):
                self.publish()  # what went wrong stands in `published`
            if self._wake.wait(self._every_s):
                return

    def _publish(self, head: Guarded) -> None:
        if self._front is None:
            self._front = self._load()
        if self._front.size == head.edge.size and (self._directory / CHECKPOINT).exists():
            if self._published.size != head.edge.size or not self._published.at_ms:
                self._tell(head.edge.size)
            self._published = Published(head.edge.size, self._published.at_ms)
            return
        front = self._front.copy()
        writer = _Writer(self._directory)
        finished = self._append(front, head.edge.size, writer)
        _partials(front, writer)
        if front.root() != head.edge.root():
            raise Tampered("the tiles of the ledger do not lead to its signed head; nothing is published")
        writer.folders()
        writer.put(CHECKPOINT, head.note.encode())
        writer.folders()
        self._front = front
        # Readers of an older checkpoint find the finished tile in place of its partial ones.
        for path in finished:
            shutil.rmtree(self._directory / f"{path}.p", ignore_errors=True)
        self._tell(front.size)

    def _tell(self, size: int) -> None:
        """What the files now hold, for `node status`; the files themselves are the truth."""
        now_ms = self._clock.now_ms()
        connection = self._connected()
        with connection.transaction():
            connection.execute(
                "update ledger.head set published_size = %s, published_at = to_timestamp(%s / 1000.0)", [size, now_ms]
            )
        self._published = Published(size, now_ms)

    def _append(self, front: _Front, size: int, writer: _Writer) -> list[str]:
        """Takes the entries up to `size` into `front`; writes tiles as they fill. Paths of those."""
        finished: list[str] = []
        connection = self._connected()
        while front.size < size:
            end = min(size, front.size + _READ_AT_ONCE)
            with connection.transaction():
                batch = ledger_rows.entries(connection, front.size, end)
            for entry in batch:
                front.entries.append(entry)
                front.rows[0].append(leaf_hash(entry))
                front.size += 1
                if front.size % WIDTH == 0:
                    finished += _finish(front, writer)
        return finished

    def _load(self) -> _Front:
        """The front of what is published, read back from the unfinished tiles and checked."""
        path = self._directory / CHECKPOINT
        if not path.exists():
            return _Front()
        stated = checkpoints.open_note(path.read_bytes(), self._verifier)
        front = _Front(stated.size, [])
        count = stated.size
        try:
            while count or not front.rows:
                number, width = divmod(count, WIDTH)
                row = self._read(len(front.rows), number, width)
                front.rows.append(tiles.decode_hashes(row, width))
                count = number
            number, width = divmod(stated.size, WIDTH)
            front.entries = tiles.decode_entries(self._read(ENTRIES, number, width), width)
        except BadInput as error:
            raise Tampered("the published tiles were changed or are damaged", detail=error.public) from None
        if front.root() != stated.root:
            raise Tampered("the published tiles do not lead to the published checkpoint: they were changed")
        self._published = Published(stated.size, int(path.stat().st_mtime * 1000))
        return front

    def _read(self, level: int | str, number: int, width: int) -> bytes:
        if not width:
            return b""
        try:
            return (self._directory / tiles.path(level, number, width)).read_bytes()
        except FileNotFoundError:
            raise Tampered("a published tile is missing: put it back from a copy of the ledger folder") from None

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection


def _finish(front: _Front, writer: _Writer) -> list[str]:
    """Writes the tiles that `front.size` has just filled, level by level upwards."""
    number = front.size // WIDTH - 1
    paths = [tiles.path(ENTRIES, number)]
    writer.put(paths[0], tiles.encode_entries(front.entries))
    front.entries = []
    level, number = 0, front.size // WIDTH - 1
    while len(front.rows[level]) == WIDTH:
        path = tiles.path(level, number)
        writer.put(path, tiles.encode_hashes(front.rows[level]))
        paths.append(path)
        if level + 1 == len(front.rows):
            front.rows.append([])
        front.rows[level + 1].append(tiles.root_of(front.rows[level]))
        front.rows[level] = []
        level, number = level + 1, (number + 1) // WIDTH - 1
    return paths


def _partials(front: _Front, writer: _Writer) -> None:
    count = front.size
    for level, row in enumerate(front.rows):
        if row:
            writer.put(tiles.path(level, count // WIDTH, len(row)), tiles.encode_hashes(row))
        count //= WIDTH
    if front.entries:
        path = tiles.path(ENTRIES, front.size // WIDTH, len(front.entries))
        writer.put(path, tiles.encode_entries(front.entries))


class _Writer:
    """Files that appear whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._touched: set[Path] = set()

    def put(self, name: str, data: bytes) -> None:
        path = self._directory / name
        folder = path.parent
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{path.name}.new"
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        self._touched |= {folder, *(parent for parent in folder.parents if parent.is_relative_to(self._directory))}

    def folders(self) -> None:
        """Makes the names last, the deepest folder first."""
        for folder in sorted(self._touched, key=lambda path: -len(path.parts)):
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
        self._touched = set()
