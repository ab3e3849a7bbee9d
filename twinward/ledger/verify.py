"""Verification of a copied ledger directory, offline: no node, no database, no network.

What is trusted is the ledger's verifier key alone. Then, in this order:

1. collect every signed statement "the first n entries have root r": the head
   guard, the published checkpoint, the note at the end of each bundle frame;
2. read the entries from the bundle files, without a gap;
3. take the statements from the smallest n up: the entries must lead to each root;
4. compare every tile and entry bundle of the published size with the entries;
5. opened bodies, where somebody put them there, must belong to their entries.

A changed entry is named by comparing it with the tiles; where those agree with it
(somebody rebuilt them), only signatures are left, and what is named is the
smallest range between two signed statements.
A copy in which every file was put back to one earlier moment is a true copy of
that moment: only a head remembered elsewhere tells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from twinward.errors import BadInput, Tampered, TwinwardError
from twinward.ledger import bundles, guardfile, opened, tilecheck
from twinward.ledger import checkpoint as checkpoints
from twinward.ledger.bundles import Frame, Torn
from twinward.ledger.checkpoint import Checkpoint
from twinward.ledger.note import Foreign, Verifier
from twinward.ledger.opened import Bodies
from twinward.ledger.tilecheck import Finding
from twinward.ledger.tree import EMPTY_ROOT, Edge, leaf_hash


@dataclass(slots=True)
class Report:
    """What verification found; `ok` where nothing is wrong."""

    origin: str
    size: int = 0  # entries that lead to a signed root
    root: bytes = EMPTY_ROOT  # 32 bytes, of that size
    entries_checked: int = 0
    notes_checked: int = 0  # signatures that hold
    published_size: int = 0
    guard_size: int = 0
    unfinished_bytes: int = 0  # of a commit that was cut short and never answered
    bodies: Bodies | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def foreign_notes(self) -> int:
        """Notes that the given key did not sign."""
        return sum(finding.foreign for finding in self.findings)

    def sentences(self) -> list[str]:
        """The findings for people: what all notes of another key have in common is said once."""
        foreign, all_notes = self.foreign_notes, self.foreign_notes + self.notes_checked
        if foreign < 2:
            return [finding.sentence for finding in self.findings]
        said = f"{foreign} of {all_notes} signed notes carry no signature of this key (--json names them all)"
        if not self.notes_checked:
            said = (
                f"the key does not belong to this ledger: it signed none of the {all_notes} notes in it, so nothing "
                "can be said about its entries; give the key of the hospital that wrote it"
            )
        return [said, *(finding.sentence for finding in self.findings if not finding.foreign)]

    def wrong(
        self,
        where: str,
        sentence: str,
        first: int | None = None,
        end: int | None = None,
        why: TwinwardError | None = None,
    ) -> None:
        self.findings.append(Finding(where, sentence, first, end, isinstance(why, Foreign)))


@dataclass(frozen=True, slots=True)
class _Statement:
    where: str
    checkpoint: Checkpoint


@dataclass(slots=True)
class _Walk:
    """The bundle files as far as they can be read."""

    entries: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    edge: Edge = field(default_factory=Edge)
    roots: dict[int, bytes] = field(default_factory=lambda: {0: EMPTY_ROOT})  # at each frame's end

    def take(self, frame: Frame) -> None:
        leaves = [leaf_hash(entry) for entry in frame.entries]
        self.entries.extend(frame.entries)
        self.leaves.extend(leaves)
        self.edge = self.edge.extended(leaves)
        self.roots[frame.size] = self.edge.root()

    def root_at(self, size: int) -> bytes:
        if size not in self.roots:  # only where somebody joined frames
            self.roots[size] = Edge().extended(self.leaves[:size]).root()
        return self.roots[size]


def verify(directory: Path, verifier: Verifier) -> Report:
    """Everything in `directory` (bundles/, tile/, checkpoint, guard.sqlite) against `verifier`.

    Raises:
        BadInput: there is no ledger in `directory`.
    """
    if not (directory / "bundles").is_dir() and not (directory / "checkpoint").is_file():
        raise BadInput("there is no ledger in this folder: it must hold bundles/ and checkpoint")
    report = Report(verifier.name)
    # The heads first: a node that runs meanwhile only adds to what they cover.
    statements = [
        statement
        for statement in (_guard(directory, verifier, report), _published(directory, verifier, report))
        if statement is not None
    ]
    walk = _Walk()
    statements += _walk(directory / "bundles", verifier, walk, report)
    report.notes_checked = len(statements)
    before = report.findings
    report.findings = []
    found = tilecheck.check(directory, report.published_size, walk.entries, walk.leaves)
    _compare(statements, walk, found, report)
    report.findings += before + found
    report.entries_checked = len(walk.entries)
    _bodies(directory, walk, report)
    return report


def _guard(directory: Path, verifier: Verifier, report: Report) -> _Statement | None:
    path = directory / guardfile.NAME
    if not path.exists():
        report.wrong("guard", "the head guard is missing: nothing says how far this ledger went")
        return None
    try:
        found = guardfile.read_copy(path)
        if found is None:
            raise Tampered("it is empty")
        stated = checkpoints.open_note(found.note, verifier)
        if (stated.size, stated.root) != (found.edge.size, found.edge.root()):
            raise Tampered("its note states another head than its row")
    except TwinwardError as error:
        report.wrong("guard", f"the head guard does not hold: {error.public}", why=error)
        return None
    report.guard_size = stated.size
    return _Statement("head guard", stated)


def _published(directory: Path, verifier: Verifier, report: Report) -> _Statement | None:
    try:
        stated = checkpoints.open_note((directory / "checkpoint").read_bytes(), verifier)
    except OSError:
        report.wrong("checkpoint", "there is no readable checkpoint")
        return None
    except TwinwardError as error:
        report.wrong("checkpoint", f"the checkpoint does not hold: {error.public}", why=error)
        return None
    report.published_size = stated.size
    return _Statement("checkpoint", stated)


def _walk(directory: Path, verifier: Verifier, walk: _Walk, report: Report) -> list[_Statement]:
    """Reads all frames into `walk`; the statements of their notes that are truly signed."""
    stated: list[_Statement] = []
    for path in bundles.files(directory):
        expected = len(walk.entries)
        if report.unfinished_bytes:
            report.wrong("bundles", f"{path.name} follows a file that breaks off in the middle of a commit", expected)
            return stated
        try:
            first, data = bundles.first_of(path.name), path.read_bytes()
        except (OSError, BadInput):
            report.wrong("bundles", f"{path.name} cannot be read as a bundle file")
            return stated
        if first != expected:
            report.wrong("bundles", f"{path.name} does not continue at entry {expected}", expected)
            return stated
        for item in bundles.frames(data):
            if isinstance(item, Torn):
                report.unfinished_bytes = len(data) - item.at
                break
            _, frame = item
            expected = len(walk.entries)
            if frame.first != expected:
                report.wrong("bundles", f"a commit in {path.name} does not continue at entry {expected}", expected)
                return stated
            walk.take(frame)
            try:
                stated.append(_Statement(path.name, checkpoints.open_note(frame.note, verifier)))
            except TwinwardError as error:
                last = frame.size - 1
                sentence = f"the note that ends entries {frame.first} to {last} does not hold: {error.public}"
                report.wrong("bundles", sentence, frame.first, frame.size, error)
    return stated


def _compare(statements: list[_Statement], walk: _Walk, tile_findings: list[Finding], report: Report) -> None:
    """Entries against signed statements, from the smallest up to the first that fails."""
    good = 0
    for statement in sorted(statements, key=lambda found: found.checkpoint.size):
        stated = statement.checkpoint
        if stated.size > len(walk.entries):
            have = len(walk.entries)
            sentence = (
                f"the {statement.where} was signed for {stated.size} entries and the bundle files hold {have}: entries "
                f"{have} to {stated.size - 1} are missing (copied while the node ran? then copy once more)"
            )
            report.wrong("bundles", sentence, have, stated.size)
            break
        if walk.root_at(stated.size) == stated.root:
            good = stated.size
        elif good == stated.size and stated.size:
            sentence = f"two different heads of {good} entries carry a signature; the other is in {statement.where}"
            report.wrong("fork", sentence, None, good)
            break
        else:
            _name(good, stated.size, tile_findings, report)
            break
    report.size, report.root = good, walk.root_at(good)


def _name(good: int, end: int, tile_findings: list[Finding], report: Report) -> None:
    """Entries [good, end) do not lead to their signed root: which one is it?"""
    span = f"entries {good} to {end - 1}"
    inside = [found.first for found in tile_findings if found.first is not None and good <= found.first < end]
    if inside:
        at = min(inside)
        sentence = (
            f"entry {at} is the first where entries and tiles disagree, and {span} do not lead to the signed root"
        )
        report.wrong("entries", sentence, at, at + 1)
    else:
        rebuilt = (
            "; the tiles agree with the changed entries, so they were rebuilt" if end <= report.published_size else ""
        )
        sentence = (
            f"{span} do not lead to the signed root{rebuilt}; this is the smallest range between two signed notes"
        )
        report.wrong("entries", sentence, good, end)


def _bodies(directory: Path, walk: _Walk, report: Report) -> None:
    path = directory / opened.NAME
    if not path.exists():
        return
    try:
        found = dict(opened.decode(path.read_text()))
    except (OSError, UnicodeError, BadInput):
        report.wrong("bodies", f"{opened.NAME} cannot be read")
        return
    report.bodies = opened.check(walk.entries, found)
    for index in report.bodies.false[:1]:
        more = len(report.bodies.false) - 1
        sentence = f"the body given for entry {index} is not its body ({more} more like it)"
        report.wrong("bodies", sentence, index, index + 1)
