"""Rows, documents, buckets, corrections: what goes in comes out, and noise raises our errors only."""

from __future__ import annotations

import math
import struct
import zlib
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinward.errors import BadInput, Malformed, TooLarge
from twinward.record import Category, Document, Measurement, Precision, Status
from twinward.vault import buckets, contents, corrections, documents, packing, rows

TIMES = st.integers(buckets.FIRST_MS, buckets.LAST_MS)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.one_of(
    st.floats(width=64), st.integers(-400, 400).map(float), st.integers(0, 10**6).map(lambda n: n / 1000)
)
MEASUREMENTS = st.builds(
    Measurement,
    code=st.sampled_from(["loinc|99504-3", "loinc|2339-0", "x|ü", ""]),
    effective_ms=TIMES,
    received_ms=TIMES,
    value=VALUES,
    unit=st.sampled_from(["mg/dL", "mmol/L", ""]),
    lineage=st.one_of(st.binary(min_size=16, max_size=16), st.sampled_from([bytes(16), b"\0" * 15 + b"\1"])),
    text=TEXTS,
    duration_s=st.integers(0, 2**32 - 1),
    status=st.sampled_from(Status),
    precision=st.sampled_from(Precision),
    flags=st.integers(0, 2**32 - 1),
    source=TEXTS,
)
DOCUMENTS = st.builds(
    Document,
    resource=TEXTS,
    effective_ms=TIMES,
    received_ms=TIMES,
    lineage=st.binary(min_size=16, max_size=16),
    body=st.binary(max_size=200),
    precision=st.sampled_from(Precision),
    source=TEXTS,
)


def exact(of: list[Measurement]) -> list[object]:
    """Comparable to the last bit: NaN with its payload, minus zero."""
    return [
        (one.code, one.effective_ms, one.received_ms, struct.pack("<d", one.value), one.unit, one.lineage, one.text,
         one.duration_s, one.status, one.precision, one.flags, one.source)
        for one in of
    ]  # fmt: skip


@given(st.lists(MEASUREMENTS, min_size=1, max_size=30))
def test_rows_come_back_bit_for_bit(sent: list[Measurement]) -> None:
    records = rows.decode_records(rows.encode_records(sent))
    assert exact(records.measurements()) == exact(sent)
    assert exact(rows.decode_block(rows.encode_block(records)).measurements()) == exact(sent)
    both, counts = rows.decode_blocks([rows.encode_block(records), rows.encode_block(records.take(slice(0, 1)))])
    assert (exact(both.measurements()), counts) == (exact([*sent, sent[0]]), [len(sent), 1])


@given(st.lists(st.lists(MEASUREMENTS, max_size=5), max_size=5))
def test_joined_parts_keep_their_texts(parts: list[list[Measurement]]) -> None:
    joined = rows.concat([rows.from_measurements(part) for part in parts])
    assert exact(joined.measurements()) == exact([one for part in parts for one in part])


@pytest.mark.parametrize("n", [1, 2, 500, 8193])
def test_many_rows(n: int) -> None:
    rng = np.random.default_rng(n)
    sent = [
        Measurement("loinc|8867-4", 1_700_000_000_000 + at * 60_000, 1_700_000_000_500, float(v), "/min", rng.bytes(16))
        for at, v in enumerate(rng.integers(40, 180, n))
    ]
    made = rows.from_measurements(sent)
    assert rows.decode_block(rows.encode_block(made)).measurements() == sent
    assert made.with_code("loinc|8867-4").measurements() == sent
    assert len(made.with_code("loinc|1-1")) == 0


def test_a_block_of_a_sensor_is_small() -> None:
    """About 16 bytes of lineage and two of everything else a row."""
    rng = np.random.default_rng(5)
    value = np.clip(140 + np.cumsum(rng.normal(0, 6, 500)), 40, 400).round()
    sent = [
        Measurement("loinc|99504-3", at * 300_000, 1_700_000_000_000, float(v), "mg/dL", rng.bytes(16))
        for at, v in enumerate(value)
    ]
    assert len(rows.encode_block(rows.from_measurements(sent))) < 500 * 18
    shared = [Measurement(o.code, o.effective_ms, o.received_ms, o.value, o.unit, bytes(16)) for o in sent]
    assert len(rows.encode_block(rows.from_measurements(shared))) < 500 * 3


@given(st.lists(DOCUMENTS, min_size=1, max_size=8), st.lists(MEASUREMENTS, max_size=4))
def test_documents_and_contents_come_back(sent: list[Document], with_them: list[Measurement]) -> None:
    assert documents.decode_block(documents.encode_block(sent)) == sent
    held = contents.decode(contents.encode(with_them, sent))
    assert (exact(held.rows.measurements()), held.documents) == (exact(with_them), sent)
    assert held.items == len(sent) + len(with_them)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_noise_raises_our_errors_only(noise: bytes, at: int, changed: int) -> None:
    nine = [Measurement("a|b", at, 2, at / 3, "g", bytes(16)) for at in range(9)]
    good = [
        rows.encode_block(rows.from_measurements(nine), 0),
        rows.encode_records([Measurement("a|b", 1, 2, 3.0, "g", bytes(16), text="t")]),
        documents.encode_plain([Document("A", 1, 2, bytes(16), b"body")]),
        contents.encode([], [Document("A", 1, 2, bytes(16), b"body")]),
    ]  # fmt: skip
    for decode in (
        rows.decode_block,
        rows.decode_records,
        documents.decode_plain,
        documents.decode_block,
        contents.decode,
    ):
        for data in (noise, *(_with(one, at, changed) for one in good), *(one[:at] for one in good)):
            try:
                decode(data)
            except (Malformed, TooLarge):
                continue


def _with(data: bytes, at: int, changed: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([changed]) + data[at + 1 :]


def test_what_no_record_can_hold_is_refused() -> None:
    fine = Measurement("a|b", 1, 2, 3.0, "g", bytes(16))
    for bad in (
        Measurement("a|b", 1, 2, 3.0, "g", bytes(15)),
        Measurement("a|b", 1 << 63, 2, 3.0, "g", bytes(16)),
        Measurement("a|b", 1, 2, 3.0, "g", bytes(16), duration_s=-1),
        Measurement("a|b", 1, 2, 3.0, "g", bytes(16), text="x" * 70_000),
        Measurement("a|b", 1, 2, 3.0, "\ud800", bytes(16)),
    ):
        with pytest.raises(BadInput):
            rows.encode_records([fine, bad])
    with pytest.raises(BadInput):
        rows.encode_records([fine] * 8193)
    for wrong in (Document("A", 1, 2, bytes(15), b""), Document("x" * 70_000, 1, 2, bytes(16), b"")):
        with pytest.raises(BadInput):
            documents.encode_plain([wrong])


def test_a_bomb_ends_where_its_length_says() -> None:
    bomb = zlib.compress(bytes(50 << 20))
    with pytest.raises(Malformed):
        packing.unpack(struct.pack("<BI", packing.ZLIB, 1000) + bomb)
    with pytest.raises(TooLarge):
        packing.unpack(struct.pack("<BI", packing.ZLIB, (64 << 20) + 1) + bomb)


# Buckets ------------------------------------------------------------------------


@given(st.sampled_from([Category.VITALS, Category.DEVICES, Category.LABS]), TIMES, st.sampled_from(Precision))
def test_a_time_is_filed_where_the_calendar_says(category: Category, at_ms: int, precision: Precision) -> None:
    day = datetime.fromtimestamp(at_ms // 1000, UTC)
    dense = category in buckets.DENSE and precision in (Precision.INSTANT, Precision.DAY)
    expected = day.year * 10000 + day.month * 100 + (day.day if dense else 0)
    if precision is Precision.NONE:
        expected = 0
    bucket = buckets.bucket_of(category, at_ms, precision)
    times, precisions = np.array([at_ms], dtype=np.int64), np.array([precision], dtype=np.uint8)
    assert bucket == expected == int(buckets.buckets_of(category, times, precisions)[0])
    assert buckets.month_of_bucket(bucket) == expected // 100
    assert buckets.all_of(bucket, category, times, precisions)
    marker_ms, marker = buckets.start_of(bucket)
    assert buckets.bucket_of(category, marker_ms, marker) == bucket


@given(
    st.sampled_from([Category.VITALS, Category.LABS]),
    st.lists(st.tuples(st.integers(1_795_000_000_000, 1_797_000_000_000), st.sampled_from(Precision)), min_size=1),
    st.integers(1_795_000_000_000, 1_797_000_000_000),
    st.sampled_from(Precision),
)
def test_all_of_agrees_with_filing_one_by_one(
    category: Category, times: list[tuple[int, Precision]], other_ms: int, other: Precision
) -> None:
    at = np.array([ms for ms, _ in times], dtype=np.int64)
    precision = np.array([one for _, one in times], dtype=np.uint8)
    for bucket in {buckets.bucket_of(category, other_ms, other), buckets.bucket_of(category, *times[0])}:
        alike = bool(np.all(buckets.buckets_of(category, at, precision) == bucket))
        assert buckets.all_of(bucket, category, at, precision) == alike


def test_times_outside_the_calendar_are_refused() -> None:
    with pytest.raises(BadInput):
        buckets.bucket_of(Category.LABS, buckets.LAST_MS + 1, Precision.INSTANT)
    for bucket in (20261301, 20260230, 5):
        with pytest.raises(BadInput):
            buckets.start_of(bucket)


# Corrections ----------------------------------------------------------------------

VERSIONS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["value", "marker", "error"])), max_size=12
)


@given(VERSIONS)
def test_the_version_received_last_is_current(versions: list[tuple[int, int, str]]) -> None:
    """Against the rule told row by row."""
    sent = []
    for at, (lineage, received, kind) in enumerate(versions):
        key = bytes([lineage // 2] * 8 + [lineage] * 8)  # lineages that share their first half, too
        if kind == "marker":
            sent.append(corrections.row_marker(key, 20261100, received))
        else:
            status = Status.ENTERED_IN_ERROR if kind == "error" else Status.FINAL
            sent.append(Measurement("a|b", at, received, float(at), "g", key, status=status))
    expected = []
    for one in sent:
        newest = all(other.received_ms <= one.received_ms for other in sent if other.lineage == one.lineage)
        if newest and one.code != rows.SUPERSEDED and one.status is not Status.ENTERED_IN_ERROR:
            expected.append(one.value)
    found = corrections.current(rows.from_measurements(sent)).value.tolist()
    assert found == expected
    assert not any(math.isnan(value) for value in found)


@given(VERSIONS)
def test_documents_follow_the_same_rule(versions: list[tuple[int, int, str]]) -> None:
    sent = [
        corrections.document_marker(bytes([lineage] * 16), 0, received) if kind == "marker"
        else Document("A", at, received, bytes([lineage] * 16), b"x")
        for at, (lineage, received, kind) in enumerate(versions)
    ]  # fmt: skip
    expected = [
        one for one in sent
        if one.resource == "A"
        and all(other.received_ms <= one.received_ms for other in sent if other.lineage == one.lineage)
    ]  # fmt: skip
    assert corrections.current_documents(sent) == expected
