"""Columns of a block: numbers as small differences, texts as dictionaries.

Each column is `u8 way || data`, little-endian. Everything decodes with a handful of
NumPy calls, whatever the number of rows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twinward.errors import Malformed
from twinward.vault.packing import Scan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Uint32 = npt.NDArray[np.uint32]

CONSTANT, OFFSETS, DELTAS, RAW = 0, 1, 2, 3
FLOAT_RAW, FLOAT_DECIMAL, FLOAT_CONSTANT = 0, 1, 2
MOST_DECIMALS = 6

_ONE = struct.Struct("<q")
_SCALED = struct.Struct("<qQB")
_DELTAS = struct.Struct("<qqQB")
_COUNT = struct.Struct("<I")
_BYTE = struct.Struct("<B")
_WIDTHS: dict[int, np.dtype[np.unsignedinteger]] = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}


def put_ints(values: Int64) -> bytes:
    """n >= 1 numbers: one constant, offsets from the least, or differences, in units of their
    greatest common divisor and the fewest bytes."""
    low, high = int(values.min()), int(values.max())
    if low == high:
        return _BYTE.pack(CONSTANT) + _ONE.pack(low)
    if high - low >= 1 << 61:
        return _BYTE.pack(RAW) + values.astype("<i8").tobytes()
    offsets = _scaled(values - low)
    steps = np.diff(values)
    least = int(steps.min())
    deltas = _scaled(steps - least)
    if deltas[1] <= offsets[1]:
        head = _BYTE.pack(DELTAS) + _DELTAS.pack(int(values[0]), least, deltas[0], deltas[1])
        return head + deltas[2]
    return _BYTE.pack(OFFSETS) + _SCALED.pack(low, offsets[0], offsets[1]) + offsets[2]


def _scaled(positive: Int64) -> tuple[int, int, bytes]:
    """Unit, bytes a number, and the numbers in that unit."""
    unit = int(np.gcd.reduce(positive)) or 1
    small = positive // unit
    most = int(small.max())
    width = 1 if most < 1 << 8 else 2 if most < 1 << 16 else 4 if most < 1 << 32 else 8
    return unit, width, small.astype(_WIDTHS[width]).tobytes()


def get_ints(scan: Scan, out: Int64) -> int | None:
    """Undoes `put_ints` into `out`, shape (n,), n >= 1; the number where all are the same. Raises Malformed."""
    (way,) = scan.read(_BYTE)
    if way == CONSTANT:
        (same,) = scan.read(_ONE)
        out.fill(same)
        return same
    if way == RAW:
        out[:] = np.frombuffer(scan.take(8 * len(out)), dtype="<i8")
    elif way == OFFSETS:
        low, unit, width = scan.read(_SCALED)
        _numbers(scan, out, unit, width, low)
    elif way == DELTAS:
        first, least, unit, width = scan.read(_DELTAS)
        # Sums wrap on purpose: a crafted column gives wrong numbers, never an exception.
        _numbers(scan, out[1:], unit, width, least)
        out[0] = first
        np.cumsum(out, out=out)
    else:
        raise Malformed("a column is written in a way we do not know")
    return None


def _numbers(scan: Scan, out: Int64, unit: int, width: int, low: int) -> None:
    """out = numbers * unit + low."""
    if width not in _WIDTHS:
        raise Malformed("a column has numbers of a width we do not know")
    if not 0 < unit < 1 << 63:
        raise Malformed("a column has a unit out of range")
    out[:] = np.frombuffer(scan.take(width * len(out)), dtype=_WIDTHS[width])
    if unit != 1:
        out *= unit
    if low:
        out += low


def put_floats(values: Float64) -> bytes:
    """n >= 1 values, bit for bit: one constant, decimals as whole numbers, or bytes by significance."""
    bits = values.view(np.int64)
    if np.all(bits == bits[0]):
        return _BYTE.pack(FLOAT_CONSTANT) + values[:1].astype("<f8").tobytes()
    if np.all(np.abs(values) < 1e9):  # false for NaN and infinities
        for decimals in range(MOST_DECIMALS + 1):
            whole = np.rint(values * 10.0**decimals).astype(np.int64)  # a minus zero is lost here and seen below
            if np.array_equal((whole / 10.0**decimals).view(np.int64), bits):
                return struct.pack("<BB", FLOAT_DECIMAL, decimals) + put_ints(whole)
    planes = values.astype("<f8").view(np.uint8).reshape(-1, 8).T
    return _BYTE.pack(FLOAT_RAW) + np.ascontiguousarray(planes).tobytes()


def get_floats(scan: Scan, out: Float64, whole: Int64) -> None:
    """Undoes `put_floats` into `out`, shape (n,); `whole` is room for n numbers. Raises Malformed."""
    (way,) = scan.read(_BYTE)
    if way == FLOAT_CONSTANT:
        out[:] = np.frombuffer(scan.take(8), dtype="<f8")
    elif way == FLOAT_RAW:
        planes = np.frombuffer(scan.take(8 * len(out)), dtype=np.uint8).reshape(8, len(out))
        out[:] = np.ascontiguousarray(planes.T).view("<f8").reshape(len(out))
    elif way == FLOAT_DECIMAL:
        (decimals,) = scan.read(_BYTE)
        if decimals > MOST_DECIMALS:
            raise Malformed("a column of values has too many decimals")
        get_ints(scan, whole)
        np.divide(whole, 10.0**decimals, out=out)
    else:
        raise Malformed("a column of values is written in a way we do not know")


def put_texts(table: Sequence[str], index: Uint32) -> bytes:
    """Texts that occur, once each, and which row has which."""
    used, places = np.unique(index, return_inverse=True)
    parts = [_COUNT.pack(len(used))]
    for one in used:
        text = table[int(one)].encode()
        parts += (_COUNT.pack(len(text)), text)
    return b"".join((*parts, put_ints(places.astype(np.int64))))


def get_texts(scan: Scan, out: Uint32, known: dict[str, int], whole: Int64) -> None:
    """Undoes `put_texts` into `out`, shape (n,): places in `known`, which grows. Raises Malformed."""
    (count,) = scan.read(_COUNT)
    if not 0 < count <= len(out):
        raise Malformed("a dictionary has no entries, or more than there are rows")
    try:
        texts = [str(scan.take(scan.read(_COUNT)[0]), "utf-8") for _ in range(count)]
    except UnicodeDecodeError:
        raise Malformed("a dictionary holds bytes that are no text") from None
    places = [known.setdefault(text, len(known)) for text in texts]
    get_places(scan, whole, count)
    if count == 1:
        out.fill(places[0])
    else:
        out[:] = np.array(places, dtype=np.uint32)[whole]


def get_places(scan: Scan, out: Int64, count: int) -> None:
    """n places below `count`. Raises Malformed."""
    same = get_ints(scan, out)
    low, high = (int(out.min()), int(out.max())) if same is None else (same, same)
    if low < 0 or high >= count:
        raise Malformed("a row points outside its dictionary")


def get_small(scan: Scan, out: Int64, most: int) -> None:
    """n numbers from 0 to `most`. Raises Malformed."""
    same = get_ints(scan, out)
    low, high = (int(out.min()), int(out.max())) if same is None else (same, same)
    if low < 0 or high > most:
        raise Malformed("a block holds a number out of range")
