"""Where in time a record is filed.

Dense signals (devices, vitals) are filed by UTC day, everything else by month;
what is known to the month or year only is filed under the month (a year: its
January), what has no clinical time under the pseudo-period, bucket 0.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from twinward.errors import BadInput
from twinward.record import Category, Precision

DENSE = frozenset({Category.DEVICES, Category.VITALS})
DAY_MS = 86_400_000
FIRST_MS = -62135596800000  # 0001-01-01
LAST_MS = 253402300799999  # 9999-12-31
UNDATED = 0

Int64 = npt.NDArray[np.int64]


def bucket_of(category: int, effective_ms: int, precision: Precision) -> int:
    """yyyymmdd, dd = 00 for a month; 0: pseudo-period.

    Raises:
        BadInput: a time outside the years 1 to 9999.
    """
    if precision is Precision.NONE:
        return UNDATED
    if not FIRST_MS <= effective_ms <= LAST_MS:
        raise BadInput("a time must lie in the years 1 to 9999")
    day = datetime.fromtimestamp(effective_ms // 1000, UTC)
    number = day.year * 10000 + day.month * 100
    return number + day.day if category in DENSE and precision <= Precision.DAY else number


def buckets_of(category: int, effective_ms: Int64, precision: npt.NDArray[np.uint8]) -> Int64:
    """`bucket_of` of n times at once, shape (n,)."""
    undated = precision == Precision.NONE
    if np.any((effective_ms[~undated] < FIRST_MS) | (effective_ms[~undated] > LAST_MS)):
        raise BadInput("a time must lie in the years 1 to 9999")
    days = np.where(undated, 0, effective_ms // DAY_MS).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    since_1970 = months.astype(np.int64)
    number = (since_1970 // 12 + 1970) * 10000 + (since_1970 % 12 + 1) * 100
    if category in DENSE:
        day = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
        number = number + np.where(precision <= Precision.DAY, day, 0)
    return np.where(undated, UNDATED, number)


def all_of(bucket: int, category: int, effective_ms: Int64, precision: npt.NDArray[np.uint8]) -> bool:
    """Whether `buckets_of` files every one of n >= 1 times in `bucket`; quicker."""
    finest, coarsest = int(precision.min()), int(precision.max())
    if bucket == UNDATED or coarsest == Precision.NONE:
        return bucket == UNDATED and finest == Precision.NONE
    first, _ = start_of(bucket)
    day = bucket % 100
    if category in DENSE and (coarsest > Precision.DAY if day else finest <= Precision.DAY):
        return False
    if day and category not in DENSE:
        return False
    days = 1 if day else monthrange(bucket // 10000, bucket // 100 % 100)[1]
    last = first + days * DAY_MS
    return first <= int(effective_ms.min()) and int(effective_ms.max()) < last


def month_of_bucket(bucket: int) -> int:
    """year * 100 + month, the month whose key seals the bucket; 0: pseudo-period."""
    return bucket // 100


def span_of(first_month: int, last_month: int) -> tuple[int, int]:
    """Least and greatest bucket number of the months."""
    return first_month * 100, last_month * 100 + 99


def start_of(bucket: int) -> tuple[int, Precision]:
    """A time and precision that `bucket_of` files in `bucket`: where a supersede marker goes.

    Raises:
        BadInput: no bucket number.
    """
    if bucket == UNDATED:
        return 0, Precision.NONE
    day = bucket % 100
    try:
        start = datetime(bucket // 10000, bucket // 100 % 100, day or 1, tzinfo=UTC)
    except ValueError:
        raise BadInput("a bucket is yyyymmdd, with dd = 00 for a month") from None
    return int(start.timestamp()) * 1000, Precision.DAY if day else Precision.MONTH
