"""One living twin: the model's state, and what it has eaten.

The bytes of a snapshot are a header of ours (what was eaten, the place, the
weight it started with) and the model's own dump, float64 throughout: a state
that comes back from a snapshot goes on bit for bit as if it had never left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from services.twin.eaten import Inputs, MonthDigest, Running, same_food
from services.twin.glucose import GlucoseTwin
from services.twin.glucose_prior import Prior
from services.twin.migration import Rebuilt
from services.twin.model_inputs import GLUCOSE, rows_for_model, weight_at
from services.twin.retention import stops
from twinward.clock import month_of
from twinward.errors import Tampered
from twinward.record import Handle
from twinward.vault.growth import Verified

FORMAT = 4  # 2: the model's state holds what corrections did; 3: digests go row by row; 4: prior, last forecast


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    format: int
    model_version: str
    seq: int
    through_ms: int
    weight_kg: float | None
    source: str
    months: dict[int, tuple[int, bytes]]
    blocks: dict[int, bytes]
    model: bytes
    prior: str = ""  # SHA-256 of the prior's file, hexadecimal
    said: tuple[int, float] | None = None  # minute and median of the last forecast for 60 min ahead


@dataclass(frozen=True, slots=True)
class Made:
    """What a state was made with, and what it said last."""

    model: str
    prior: str  # SHA-256, hexadecimal; empty: before priors were in the state
    said: tuple[int, float] | None = None

    @property
    def name(self) -> str:
        return f"{self.model} {self.prior}"


@dataclass(frozen=True, slots=True)
class View:
    """What is stored of one patient's inputs at one moment."""

    inputs: Inputs  # of `first_month` and later
    weights: list[tuple[int, float]]  # effective_ms, kg
    seq: int  # everything committed up to here is in it
    rows: int  # database rows that were served
    first_month: int  # year * 100 + month: nothing older was opened
    blocks: dict[int, bytes]  # month -> digest of what lies in blocks, of every month
    verified: Verified | None = None  # how far the chain of accepted rows was checked
    lineages: bytes = b""  # 16 bytes of each row that was looked at, eaten or not

    @property
    def weight_kg(self) -> float | None:
        return weight_at(self.weights, int(self.inputs.effective_ms[0])) if len(self.inputs) else None


@dataclass
class Living:
    """Owned by whoever holds the patient's lock in `Keeper`; not thread-safe."""

    handle: Handle
    twin: GlucoseTwin
    weight_kg: float | None  # that the model was started with
    through_ms: int  # every row up to here is eaten
    seq: int  # everything stored up to here has been looked at
    source: str = ""  # of the newest sensor reading: feed and device
    months: dict[int, MonthDigest] = field(default_factory=dict)
    blocks: dict[int, bytes] = field(default_factory=dict)  # what lay in blocks, by month
    running: Running | None = None  # of the month of `through_ms`; None: to be made from stored rows

    def fits(self, view: View) -> bool:
        """Whether this state may go on with the rows that are stored now.

        Months that the view opens are compared row by row; of older ones, whether their
        blocks are still those that were there when they were eaten.
        """
        if view.first_month <= min(self.months, default=view.first_month) and view.weight_kg != self.weight_kg:
            return False
        older = {month for month in (*self.blocks, *view.blocks) if month < view.first_month}
        if any(self.blocks.get(month) != view.blocks.get(month) for month in older):
            return False
        return same_food(self.months, view.inputs, self.through_ms, view.first_month)

    def eat(self, stored: Inputs) -> Iterator[bytes]:
        """Advances to the last row of `stored` and yields what a snapshot would hold at
        every rung of the retention ladder on the way. The end itself is not yielded."""
        last_ms = int(stored.effective_ms[-1])
        for stop in stops(self.through_ms, self.through_ms, last_ms):
            if self._advance(stored, stop - 1):
                yield self.dump()
        self._advance(stored, last_ms)

    def _advance(self, stored: Inputs, through_ms: int) -> bool:
        new = stored.part(self.through_ms, through_ms)
        if not len(new):
            return False
        self.twin.advance(rows_for_model(new))
        self.through_ms = int(new.effective_ms[-1])
        readings = new.rows[new.rows["code"] == GLUCOSE]
        if len(readings):
            self.source = new.sources[int(readings["source"][-1])]
        for month, part in new.by_month():
            if self.running is None or self.running.month != month:
                self.running = _running(stored, month, int(new.effective_ms[0]) - 1)
            self.running.take(part)
            self.months[month] = self.running.digest()
        return True

    def extend(self, more: Inputs) -> Iterator[bytes]:
        """As `eat`, of rows that all come after those eaten: nothing older is looked at.

        Only after `ready`."""
        return self.eat(more) if len(more) else iter(())

    def ready(self, stored: Inputs) -> None:
        """Makes ready for `extend`; `stored` has the rows of the month that was eaten last."""
        month = month_of(self.through_ms)
        if self.running is None or self.running.month != month:
            self.running = _running(stored, month, self.through_ms)

    @property
    def made(self) -> Made:
        return Made(GlucoseTwin.MODEL_VERSION, self.twin.prior_sha256.hex(), self.twin.said())

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(
            _Stored(
                FORMAT,
                GlucoseTwin.MODEL_VERSION,
                self.seq,
                self.through_ms,
                self.weight_kg,
                self.source,
                dict(self.months),
                dict(self.blocks),
                self.twin.dump(),
                self.twin.prior_sha256.hex(),
                self.twin.said(),
            )
        )


def _running(stored: Inputs, month: int, through_ms: int) -> Running:
    """The digest of `month` up to `through_ms`, from stored rows."""
    found = Running(month)
    for own, part in stored.part(None, through_ms).by_month():
        if own == month:
            found.take(part)
    return found


def start(handle: Handle, view: View, prior: Prior | None = None) -> Living | None:
    """A twin before its first row; None where there is no sensor reading to start from."""
    if not np.any(view.inputs.rows["code"] == GLUCOSE):
        return None
    first_ms = int(view.inputs.effective_ms[0])
    twin = GlucoseTwin.start(handle.bytes, first_ms, view.weight_kg, prior)
    return Living(handle, twin, view.weight_kg, first_ms - 1, view.seq)


def made_with(plain: bytes) -> Made:
    """What an opened snapshot was made with. Raises Tampered."""
    found = _stored(plain)
    return Made(found.model_version, found.prior, found.said)


def _stored(plain: bytes) -> _Stored:
    try:
        return msgspec.msgpack.decode(plain, type=_Stored)
    except msgspec.DecodeError as error:
        raise Tampered("a stored twin cannot be read", detail=str(error)) from None


def load(handle: Handle, plain: bytes) -> Living | None:
    """The state of an opened snapshot; None where another version of the model wrote it.

    Raises:
        Tampered: what was opened is no snapshot.
    """
    found = _stored(plain)
    if found.format != FORMAT or found.model_version != GlucoseTwin.MODEL_VERSION:
        return None
    model = GlucoseTwin.load(found.model)
    return Living(handle, model, found.weight_kg, found.through_ms, found.seq, found.source, found.months, found.blocks)


def rebuilt(was: Made, now: Living) -> Rebuilt:
    """What a state that was made again from the record says beside the one before."""
    same = now.twin.said(was.said[0]) if was.said else None
    difference = abs(same[1] - was.said[1]) if same and was.said else None
    return Rebuilt(was.name, now.made.name, now.twin.readings, difference)
