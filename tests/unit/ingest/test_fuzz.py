"""Untrusted input can raise only our errors, and an answer for every entry."""

from __future__ import annotations

import contextlib
import csv
import io
import math

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.entry import Aside, Taken
from services.ingest.fhir import Reader
from services.ingest.kept import VERSION, Kept, KeptEntry, KeptMapping, decode, encode
from services.ingest.mapping import Column, Mapping
from services.ingest.receipts import Names
from services.ingest.series import SeriesReader
from services.ingest.times import moment
from twinward.errors import BadInput

NAMES = Names(b"k" * 32)
READER = Reader("files", NAMES, 1_795_000_000_000)
SERIES = SeriesReader("files", NAMES, 1_795_000_000_000)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

NAMES_OF_ELEMENTS = """
resourceType id status code coding system value unit subject reference component valueQuantity valueString
effectiveDateTime effectivePeriod start end dosage dose rateRatio numerator denominator medicationCodeableConcept
identifier meta security versionId contained participant member patient text display comparator dataAbsentReason period
"""
KEYS = st.sampled_from(NAMES_OF_ELEMENTS.split())
WORDS = st.sampled_from(
    ["Observation", "Patient", "Bundle", "MedicationAdministration", "Consent", "CareTeam", "final", "http://loinc.org",
     "2339-0", "mg/dL", "Patient/1", "urn:uuid:1", "#1", "2026-01-01", "2026-01-01T00:00:00Z", "0000-00-00", "\x00",
     "é", "9999-12-31T23:59:60+14:00", "insulin lispro", "[IU]", "Patient?identifier=a|b", "https://x/Patient/1"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25
)
TYPES = st.sampled_from(
    ["Observation", "Patient", "Condition", "Encounter", "MedicationAdministration", "MedicationRequest", "Consent",
     "CareTeam", "DiagnosticReport", "Device", "Claim", "Organization"]
)  # fmt: skip
RESOURCES = st.builds(
    lambda kind, body: {**body, "resourceType": kind}, TYPES, st.dictionaries(KEYS, VALUES, max_size=10)
)


def packed(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError):
        return b'{"resourceType":"Basic"}'


@FEW
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    for call in (lambda: READER.message(data), lambda: decode(data)):
        with contextlib.suppress(BadInput):  # anything else fails the test
            call()


@FEW
@given(st.lists(RESOURCES, max_size=5))
def test_any_resources_each_get_an_answer(resources: list[dict[str, object]]) -> None:
    entries = [b'{"fullUrl":"urn:uuid:%d","resource":%s}' % (n, packed(one)) for n, one in enumerate(resources)]
    reads = READER.message(b'{"resourceType":"Bundle","type":"batch","entry":[' + b",".join(entries) + b"]}")
    assert [one.index for one in reads] == list(range(len(resources)))
    for one in reads:
        if isinstance(one, Taken):
            assert all(math.isnan(row.value) or abs(row.value) < 1e15 for row in one.measurements)
            assert all(len(row.lineage) == 16 for row in one.measurements)
            assert all("\x00" not in line.code + line.system + line.unit for line in one.unmapped)
        else:
            assert one.word


@FEW
@given(st.text(max_size=40) | WORDS)
def test_any_time(text: str) -> None:
    try:
        at = moment(text)
    except BadInput:
        return
    assert -2_840_140_800_000 <= at.ms <= 4_102_444_860_000  # 1880 to 2100


@FEW
@given(
    st.lists(
        st.lists(st.text(max_size=12) | WORDS | st.sampled_from(["5.5", "1e999", "nan", "-0", "Low"]), max_size=4),
        max_size=6,
    ),
    st.sampled_from(["", "%d/%m/%Y", "epoch-ms", "epoch-s", "%"]),
    st.sampled_from(["", "Europe/London", "../etc/passwd", "\x00"]),
)
def test_any_rows(rows: list[list[str]], pattern: str, zone: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["t", "g", "m", "p"], *rows])
    mapping = Mapping("t", (Column("g", "glucose", "mmol/L", "m"),), pattern, zone, "p", "urn:mrn")
    try:
        reads = SERIES.read(out.getvalue().encode("utf-8", "replace"), mapping, None)
    except BadInput:
        return
    for one in reads:
        assert isinstance(one, Aside) or all(math.isfinite(row.value) for row in one.measurements)


@FEW
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), max_size=3), st.binary(), st.binary())
def test_what_is_kept_comes_back(names: list[tuple[str, str]], body: bytes, said: bytes) -> None:
    mapping = KeptMapping.of(Mapping("t", (Column("g", "glucose", "mmol/L"),), "%d", "UTC", "p", "s", "d"))
    try:
        kept = Kept(VERSION, "files", 5, tuple(names), True, (KeptEntry(0, "", body, said),), mapping)
        assert decode(encode(kept)) == kept
    except UnicodeEncodeError:
        assert any(not part.isprintable() for pair in names for part in pair)
    assert mapping.mapping().columns == (Column("g", "glucose", "mmol/L"),)
