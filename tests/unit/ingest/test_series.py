"""CSV with a declared mapping: what real exports do, and what is marked, never deleted."""

from __future__ import annotations

import pytest

from services.ingest.entry import Aside, Read, Taken
from services.ingest.mapping import Column, Mapping
from services.ingest.receipts import Names
from services.ingest.series import SeriesReader
from twinward.errors import BadInput, Malformed
from twinward.record import CGM_GLUCOSE, INSULIN_BASAL_RATE, Category, Flag, Measurement

NOW = 1_795_000_000_000
READER = SeriesReader("files", Names(b"k" * 32), NOW)
GLUCOSE = Mapping("t", (Column("g", "glucose", "mmol/L"),), "%d/%m/%Y %H:%M", "Europe/London")
WHO = ("urn:mrn", "7")


def rows(reads: list[Read]) -> list[Measurement]:
    return [row for one in reads if isinstance(one, Taken) for row in one.measurements]


def words(reads: list[Read]) -> list[tuple[str, int]]:
    return [(one.word, one.weight) for one in reads if isinstance(one, Aside)]


def test_mark_preamble_and_ragged_rows() -> None:
    text = "\ufeffDevice,X\nexported,2026\nt,g,other\n01/07/2026 10:00,5.5\n01/07/2026 10:05,5.6,a,b,c\n\n,,\n"
    reads = READER.read(text.encode(), GLUCOSE, WHO)
    first, second = rows(reads)
    assert first.value == pytest.approx(99.1, abs=0.02)
    assert (first.unit, first.text, first.code) == ("mg/dL", "5.5 mmol/L", CGM_GLUCOSE)
    assert first.effective_ms == 1_782_896_400_000  # 09:00 UTC: summer time
    assert second.effective_ms - first.effective_ms == 300_000
    assert words(reads) == []
    (one,) = [one for one in reads if isinstance(one, Taken)]
    assert (one.category, one.who.names, one.weight) == (Category.DEVICES, (WHO,), 2)


def test_words_of_sensors_and_limits_are_marked() -> None:
    text = "t,g\n01/07/2026 10:00,Low\n01/07/2026 10:05,HIGH\n01/07/2026 10:10,22.3\n01/07/2026 11:10,0.4\n"
    low, high, above, impossible = rows(READER.read(text.encode(), GLUCOSE, WHO))
    assert (low.value, low.text) == (40.0, "Low")
    assert high.value == 400.0
    assert all(row.flags & Flag.AT_SENSOR_LIMIT for row in (low, high, above))
    assert impossible.flags & Flag.OUT_OF_RANGE


def test_a_jump_no_body_makes_is_marked_and_kept() -> None:
    text = "t,g\n01/07/2026 10:00,5.0\n01/07/2026 10:05,12.0\n01/07/2026 10:10,12.1\n"
    first, jump, after = rows(READER.read(text.encode(), GLUCOSE, WHO))
    assert not first.flags
    assert jump.flags == Flag.SUSPECT_RATE
    assert not after.flags


def test_bad_rows_are_quarantined_by_reason_and_the_rest_is_stored() -> None:
    good = "t,g\n01/07/2026 10:00,5\n01/07/2026 10:15,\n"
    text = good + "13/13/2026 10:00,5\n,5\n01/07/2026 10:05,five\n01/07/2026 10:10,inf\n"
    reads = READER.read(text.encode(), GLUCOSE, WHO)
    assert len(rows(reads)) == 1
    assert sorted(words(reads)) == [("bad-time", 2), ("not-a-number", 2)]


def test_no_zone_is_utc_and_marked() -> None:
    mapping = Mapping("t", GLUCOSE.columns)
    (row,) = rows(READER.read(b"t,g\n2026-07-01T10:00:00,5\n", mapping, WHO))
    assert row.flags == Flag.ZONE_ASSUMED
    (row,) = rows(READER.read(b"t,g\n2026-07-01T10:00:00+02:00,5\n", mapping, WHO))
    assert (row.flags, row.effective_ms) == (0, 1_782_892_800_000)
    (row,) = rows(READER.read(b"t,g\n1782892800000,5\n", Mapping("t", GLUCOSE.columns, "epoch-ms"), WHO))
    assert row.effective_ms == 1_782_892_800_000


def test_several_kinds_patients_and_durations() -> None:
    mapping = Mapping(
        "t",
        (
            Column("g", "glucose", "mg/dL"),
            Column("r", "basal-rate", "U/h", "minutes"),
            Column("c", "carbohydrates", "g"),
        ),
        patient_column="p",
        patient_system="urn:mrn",
    )
    at = "2026-07-01T10:00:00Z"
    text = f"p;t;g;r;minutes;c\na;{at};120,5;0,85;30;\nb;{at};;;;45\n;{at};100;;;\n"
    reads = READER.read(text.encode(), mapping, None)
    found = {(one.who.names[0][1], one.category) for one in reads if isinstance(one, Taken)}
    assert found == {("a", Category.DEVICES), ("a", Category.MEDS), ("b", Category.VITALS)}
    (rate,) = [row for row in rows(reads) if row.code == INSULIN_BASAL_RATE]
    assert (rate.value, rate.duration_s) == (0.85, 1800)
    assert [row.value for row in rows(reads) if row.code == CGM_GLUCOSE] == [120.5]
    assert words(reads) == [("no-subject", 1)]


def test_the_same_rows_have_the_same_receipts_and_overlap_the_same_lineages() -> None:
    one = READER.read(b"t,g\n01/07/2026 10:00,5\n01/07/2026 10:05,6\n", GLUCOSE, WHO)
    again = READER.read(b"t,g\n01/07/2026 10:00,5\n01/07/2026 10:05,6\n", GLUCOSE, WHO)
    longer = READER.read(b"t,g\n01/07/2026 10:00,5\n01/07/2026 10:05,6\n01/07/2026 10:10,6\n", GLUCOSE, WHO)
    keys = [[entry.key for entry in reads if isinstance(entry, Taken)] for reads in (one, again, longer)]
    assert keys[0] == keys[1] != keys[2]
    assert {row.lineage for row in rows(one)} < {row.lineage for row in rows(longer)}


def test_two_doses_at_one_time_both_count() -> None:
    mapping = Mapping("t", (Column("d", "bolus", "U"),), "%d/%m/%Y %H:%M", "Europe/London")
    both = rows(READER.read(b"t,d\n01/07/2026 10:00,2\n01/07/2026 10:00,3\n", mapping, WHO))
    assert sorted(row.value for row in both) == [2, 3]
    assert len({row.lineage for row in both}) == 2


@pytest.mark.parametrize(
    ("data", "mapping", "who", "says"),
    [
        (b"a,b\n1,2\n", GLUCOSE, WHO, "no header row"),
        (b"t,g\n1,2\n", GLUCOSE, None, "whose rows"),
        (b"t,g\n1,2\n", Mapping("t", (Column("g", "glucose", "bananas"),)), WHO, "needs a unit"),
        (b"t,g\n1,2\n", Mapping("t", (Column("g", "mood", "g"),)), WHO, "unknown kind"),
        (b"t,g\n1,2\n", Mapping("t", (Column("g", "glucose", "mg/dL"),), "", "Mars/Olympus"), WHO, "time zone"),
        (b"t,g\n1,2\n", Mapping("", (Column("g", "glucose", "mg/dL"),)), WHO, "no time column"),
        (b"t,g\n1,2\n", Mapping("t", (Column("g", "glucose", "mg/dL"),), patient_column="p"), WHO, "system"),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_to_declare(
    data: bytes, mapping: Mapping, who: tuple[str, str] | None, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        READER.read(data, mapping, who)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"t,g\n\x00\n"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        READER.read(data, GLUCOSE, WHO)
