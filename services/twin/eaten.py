"""What a state has eaten, so that a state is continued only if that is still what is stored.

A glucose twin's state is a function of the rows that are true now, in the order
of their own time. Late data, a correction, an entry in error: each changes a row
at or before the time up to which a state has eaten. So a state (the living one
or a snapshot) carries a count and a digest of its rows per UTC month, and it is
continued exactly when the rows stored up to its time have the same ones. Else
the newest older snapshot that passes the same check is restored. No separate
bookkeeping of late rows exists that could be wrong.

Digests are per month because an upkeep lease opens the current and the previous
month only: what a lease does not open is not compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twinward.clock import month_of

MonthDigest = tuple[int, bytes]  # rows, SHA-256[:16] over them


DIGESTED = ("effective_ms", "code", "value", "duration_s", "flags")
ROW = np.dtype(
    [
        ("effective_ms", np.int64),
        ("code", np.int16),  # place in model_inputs.CODES
        ("value", np.float64),  # canonical unit of the code
        ("duration_s", np.int64),
        ("flags", np.int32),
        ("source", np.int16),  # place in Inputs.sources
    ]
)
PACKED = np.dtype([(name, ROW[name].newbyteorder("<")) for name in DIGESTED])  # one row as it is digested


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the twin eats: n rows of `ROW`, sorted by every field in turn; `sources` is sorted."""

    rows: npt.NDArray[np.void]
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def effective_ms(self) -> npt.NDArray[np.int64]:
        return self.rows["effective_ms"]

    def part(self, after_ms: int | None, through_ms: int) -> Inputs:
        """Rows with after_ms < effective <= through_ms; None: from the first."""
        first = 0 if after_ms is None else int(np.searchsorted(self.effective_ms, after_ms, side="right"))
        last = int(np.searchsorted(self.effective_ms, through_ms, side="right"))
        return Inputs(self.rows[first:last], self.sources)

    def by_month(self) -> Iterator[tuple[int, Inputs]]:
        """UTC month (year * 100 + month) and its rows, in order."""
        first = 0
        while first < len(self):
            month = month_of(int(self.effective_ms[first]))
            last = int(np.searchsorted(self.effective_ms, _next_month_ms(month), side="left"))
            yield month, Inputs(self.rows[first:last], self.sources)
            first = last

    def digests(self) -> dict[int, MonthDigest]:
        """UTC month (year * 100 + month) -> count and digest of its rows."""
        found: dict[int, MonthDigest] = {}
        for month, part in self.by_month():
            running = Running(month)
            running.take(part)
            found[month] = running.digest()
        return found


@dataclass
class Running:
    """The digest of one month while it is eaten: taking more rows does not look at the earlier ones."""

    month: int
    count: int = 0
    _sha256: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, more: Inputs) -> None:
        """Rows of the month that come after those taken."""
        packed = np.empty(len(more), dtype=PACKED)
        for name in DIGESTED:
            packed[name] = more.rows[name]
        self._sha256.update(packed.tobytes())
        self.count += len(more)

    def digest(self) -> MonthDigest:
        return self.count, self._sha256.digest()[:16]


def in_order(rows: npt.NDArray[np.void], sources: tuple[str, ...]) -> Inputs:
    """Inputs in their one order, whatever order the rows came in."""
    order = np.lexsort([rows[name] for name in reversed(ROW.names or ())])
    return Inputs(rows[order], sources)


def same_food(eaten: Mapping[int, MonthDigest], stored: Inputs, through_ms: int, first_month: int) -> bool:
    """Whether the rows of `stored` up to `through_ms` are those that were eaten, in every
    month from `first_month` on."""
    now = stored.part(None, through_ms).digests()
    months = {month for month in (*eaten, *now) if month >= first_month}
    return all(eaten.get(month) == now.get(month) for month in months)


def _next_month_ms(month: int) -> int:
    year, number = divmod(month, 100)
    year, number = (year + 1, 1) if number == 12 else (year, number + 1)
    return int(np.datetime64(f"{year:04d}-{number:02d}", "ms").astype(np.int64))
