"""A ledger directory written by code of its own, so that verification is not judged by its author."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twinward.ledger import checkpoint as checkpoints
from twinward.ledger.bundles import Frame, name_of
from twinward.ledger.checkpoint import Checkpoint
from twinward.ledger.entry import Entry, commit
from twinward.ledger.guardfile import TABLE
from twinward.ledger.note import Signer, Verifier
from twinward.ledger.tree import Edge, leaf_hash

ORIGIN = "demo-a.example/ledger"
SIGNER = Signer(ORIGIN, bytes(range(32)))


def salted(index: int, body: bytes = b"") -> bytes:
    """salt || body of test entry `index`."""
    body = body or f'{{"actor":"u{index % 7}","kind":"grant","v":1}}'.encode()
    return hashlib.sha256(b"salt%d" % index).digest() + body


def entry(index: int, kind: int = 1, body: bytes = b"") -> bytes:
    opened = salted(index, body)
    return Entry(kind, 1_800_000_000 // 60 * 60 + index // 10 * 60, commit(opened[:32], opened[32:])).encode()


@dataclass
class Written:
    """Entries and how they are cut into group commits and bundle files."""

    entries: list[bytes]
    groups: list[int]  # entries of each group commit
    rotate: int = 1 << 30

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(data) for data in self.entries]

    def note(self, size: int, signer: Signer = SIGNER) -> str:
        edge = Edge().extended(self.leaves[:size])
        return checkpoints.sign(Checkpoint(signer.verifier.name, size, edge.root()), signer).encode()

    def write(self, directory: Path, published: int | None = None) -> Path:
        self.write_bundles(directory)
        self.write_guard(directory, len(self.entries))
        self.write_tiles(directory, len(self.entries) if published is None else published)
        return directory

    def frames(self) -> list[Frame]:
        found, first = [], 0
        for count in self.groups:
            found.append(Frame(first, tuple(self.entries[first : first + count]), self.note(first + count).encode()))
            first += count
        return found

    def write_bundles(self, directory: Path, frames: Sequence[Frame] | None = None) -> None:
        (directory / "bundles").mkdir(parents=True, exist_ok=True)
        for old in (directory / "bundles").iterdir():
            old.unlink()
        begun = 0
        for frame in self.frames() if frames is None else frames:
            if frame.first - begun >= self.rotate:
                begun = frame.first
            with (directory / "bundles" / name_of(begun)).open("ab") as file:
                file.write(frame.encode())

    def write_guard(self, directory: Path, size: int) -> None:
        path = directory / "guard.sqlite"
        path.unlink(missing_ok=True)
        edge = Edge().extended(self.leaves[:size])
        connection = sqlite3.connect(path)
        connection.execute(TABLE)
        connection.execute(
            "insert into guard values (1, ?, ?, ?, ?)", (size, edge.root(), edge.encode(), self.note(size))
        )
        connection.commit()
        connection.close()

    def write_tiles(self, directory: Path, size: int) -> None:
        """Straight from the definition: level L, hash i = root over 256**L leaves."""
        level, row = 0, self.leaves[:size]
        while row:
            for at in range(0, len(row), 256):
                self._put(directory, str(level), at // 256, len(row[at : at + 256]), b"".join(row[at : at + 256]))
            row = [_full(row[at : at + 256]) for at in range(0, len(row) - 255, 256)]
            level += 1
        for at in range(0, size, 256):
            part = self.entries[at : min(at + 256, size)]
            data = b"".join(len(one).to_bytes(2, "big") + one for one in part)
            self._put(directory, "entries", at // 256, len(part), data)
        (directory / "checkpoint").write_text(self.note(size))

    def _put(self, directory: Path, level: str, number: int, width: int, data: bytes) -> None:
        assert number < 1000
        name = f"{number:03d}" + ("" if width == 256 else f".p/{width}")
        path = directory / "tile" / level / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _full(hashes: Sequence[bytes]) -> bytes:
    row = list(hashes)
    while len(row) > 1:
        row = [hashlib.sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def a_log(size: int, group: int = 7, rotate: int = 1 << 30) -> Written:
    groups = [group] * (size // group) + ([size % group] if size % group else [])
    return Written([entry(index) for index in range(size)], groups, rotate)


def verifier() -> Verifier:
    return SIGNER.verifier
