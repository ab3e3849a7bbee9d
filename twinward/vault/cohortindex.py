"""The sealed cohort index: what is known of one patient at a glance, so that a study need not open everybody.

The compactor keeps it, one document a patient and key version, whenever it files
something. Of records in ordinary categories it holds when they were and how many;
of sensitive, raw and intake records nothing. It may say too much and never too
little: a value that was corrected or entered in error stays in it, so what the index
suggests is only where to look, and reading decides.

Not `whole`, it may lack something (records older than the index, or more codes than
it holds); then everything is possible, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from twinward.codes import known
from twinward.errors import Malformed
from twinward.record import SENSITIVE, Category, Document, Precision, Status
from twinward.vault import buckets
from twinward.vault.rows import SUPERSEDED, Rows

FORMAT = 1
RESOURCE = "cohort-index"  # a stored index's `resource`
MOST_KEYS = 1_000  # of conditions, and of codes
MOST_COUNT = (1 << 31) - 1
# What may enter: a consent must permit all of it before the index is opened.
INDEXED = frozenset(Category) - SENSITIVE - {
    Category.TEACHING, Category.MODEL_STATE, Category.COHORT_INDEX, Category.RAW, Category.INTAKE,
}  # fmt: skip
SEXES = ("", "female", "male", "other", "unknown")


@dataclass(frozen=True, slots=True)
class Span:
    """Records of one code: months as year * 100 + month, 0 where one has no time."""

    first: int
    last: int
    count: int  # as often as it was filed: corrections count again

    def joined(self, other: Span) -> Span:
        count = min(self.count + other.count, MOST_COUNT)
        return Span(min(self.first, other.first), max(self.last, other.last), count)

    def touches(self, first_month: int | None, last_month: int | None) -> bool:
        """Whether a record may lie in the months (None: open). One without time may lie anywhere."""
        if self.first == 0:
            return True
        return self.first <= (last_month or self.first) and self.last >= (first_month or 0)


@dataclass(frozen=True, slots=True)
class CohortIndex:
    """Keys are "system|code" as in `Measurement.code`; conditions as "snomed|44054006"."""

    birth_year: int | None = None
    sex: str = ""  # FHIR's administrative gender
    conditions: Mapping[str, Span] = field(default_factory=dict)
    codes: Mapping[str, Span] = field(default_factory=dict)
    whole: bool = True

    def may_have_condition(self, code: str, first_month: int | None = None, last_month: int | None = None) -> bool:
        """False only where reading would find none."""
        return _may(self.conditions, code, first_month, last_month, self.whole)

    def may_have_code(self, code: str, first_month: int | None = None, last_month: int | None = None) -> bool:
        """False only where reading would find none."""
        return _may(self.codes, code, first_month, last_month, self.whole)


def _may(spans: Mapping[str, Span], code: str, first: int | None, last: int | None, whole: bool) -> bool:
    if not whole:
        return True
    span = spans.get(code)
    return span is not None and span.touches(first, last)


def merged(old: CohortIndex, new: CohortIndex) -> CohortIndex:
    """`old` and what arrived since. What a newer Patient leaves out stays as it was."""
    conditions, all_conditions = _joined(old.conditions, new.conditions)
    codes, all_codes = _joined(old.codes, new.codes)
    return CohortIndex(
        birth_year=old.birth_year if new.birth_year is None else new.birth_year,
        sex=new.sex or old.sex,
        conditions=conditions,
        codes=codes,
        whole=old.whole and new.whole and all_conditions and all_codes,
    )


def _joined(old: Mapping[str, Span], new: Mapping[str, Span]) -> tuple[dict[str, Span], bool]:
    """At most MOST_KEYS, those that were there first; whether that is all."""
    found = dict(old)
    whole = True
    for code in sorted(new):
        if code in found:
            found[code] = found[code].joined(new[code])
        elif len(found) < MOST_KEYS:
            found[code] = new[code]
        else:
            whole = False
    return found, whole


# What arrives -------------------------------------------------------------------


def of_arrival(category: int, rows: Iterable[Rows], documents: Iterable[Document]) -> CohortIndex:
    """What records of one category add; nothing where the category is not of INDEXED."""
    if category not in INDEXED:
        return CohortIndex()
    codes: dict[str, Span] = {}
    for part in rows:
        for code, span in _spans(category, part):
            codes[code] = codes[code].joined(span) if code in codes else span
    found = merged(CohortIndex(), CohortIndex(codes=codes))
    for one in sorted(documents, key=lambda document: document.received_ms):
        if (new := _of_document(category, one)) is not None:
            found = merged(found, new)
    return found


def _spans(category: int, rows: Rows) -> Iterator[tuple[str, Span]]:
    kept = rows.take(rows.status != Status.ENTERED_IN_ERROR)
    if len(kept) == 0:
        return
    months = buckets.buckets_of(category, kept.effective_ms, kept.precision) // 100
    for place in np.unique(kept.code).tolist():
        if kept.codes[place] != SUPERSEDED:
            own = months[kept.code == place]
            yield kept.codes[place], Span(int(own.min()), int(own.max()), len(own))


def _of_document(category: int, one: Document) -> CohortIndex | None:
    if (one.resource, category) == ("Patient", Category.IDENTITY):
        return _of_patient(_read(one.body))
    if (one.resource, category) == ("Condition", Category.CONDITIONS):
        return _of_condition(_read(one.body), buckets.bucket_of(category, one.effective_ms, one.precision) // 100)
    return None


def _read(body: bytes) -> Mapping[str, object]:
    """The resource; empty where it cannot be read: ingest has checked it, and an index is no place to judge."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_patient(resource: Mapping[str, object]) -> CohortIndex:
    born, sex = resource.get("birthDate"), resource.get("gender")
    year = born[:4] if isinstance(born, str) else ""
    number = int(year) if len(year) == 4 and year.isascii() and year.isdigit() and year != "0000" else None
    return CohortIndex(birth_year=number, sex=sex if isinstance(sex, str) and sex in SEXES else "")


def _of_condition(resource: Mapping[str, object], month: int) -> CohortIndex:
    if any(code.endswith("|entered-in-error") for code in _codings(resource.get("verificationStatus"))):
        return CohortIndex()
    codes = dict.fromkeys(_codings(resource.get("code")))
    return CohortIndex(conditions={code: Span(month, month, 1) for code in codes})


def _codings(concept: object) -> Iterator[str]:
    """The codings of a CodeableConcept as "alias|code"."""
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, dict) and isinstance(coding.get("code"), str):
            yield known(str(coding.get("system", "")), coding["code"])


# Stored --------------------------------------------------------------------------


def encode(index: CohortIndex) -> bytes:
    """Canonical JSON: keys sorted, no white space, UTF-8."""
    body = {
        "v": FORMAT,
        "birth_year": index.birth_year,
        "sex": index.sex,
        "conditions": _listed(index.conditions),
        "codes": _listed(index.codes),
        "whole": index.whole,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _listed(spans: Mapping[str, Span]) -> dict[str, list[int]]:
    return {code: [span.first, span.last, span.count] for code, span in spans.items()}


def decode(data: bytes) -> CohortIndex:
    """Undoes `encode`. Raises Malformed for anything else."""
    try:
        body = json.loads(data)
        if not isinstance(body, dict) or body.pop("v", None) != FORMAT or len(body) != 5:
            raise Malformed("a cohort index is written in a form we do not know")
        return CohortIndex(
            birth_year=None if body["birth_year"] is None else _number(body["birth_year"]),
            sex=SEXES[SEXES.index(body["sex"])],
            conditions=_of_list(body["conditions"]),
            codes=_of_list(body["codes"]),
            whole=body["whole"] is True,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed("a cohort index cannot be read") from None


def _of_list(stated: Mapping[str, list[int]]) -> dict[str, Span]:
    if not isinstance(stated, dict) or len(stated) > MOST_KEYS:
        raise Malformed("a cohort index holds more than it may")
    return {code: Span(_number(first), _number(last), _number(count)) for code, (first, last, count) in stated.items()}


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_COUNT:
        raise Malformed("a cohort index holds a number that it may not")
    return value


def to_document(index: CohortIndex, version: int, now_ms: int) -> Document:
    """As it is filed, in the pseudo-period. Each key version has an index of its own."""
    return Document(RESOURCE, 0, now_ms, version.to_bytes(16, "big"), encode(index), Precision.NONE)


def from_documents(documents: Iterable[Document]) -> CohortIndex | None:
    """The index of one patient, all key versions together; None where none was filed yet."""
    ordered = sorted((one for one in documents if one.resource == RESOURCE), key=lambda one: one.lineage)
    if not ordered:
        return None
    found = CohortIndex()
    for one in ordered:
        found = merged(found, decode(one.body))
    return found


def begun_late(index: CohortIndex) -> CohortIndex:
    """An index that was begun when records were filed already: it does not know of them."""
    return replace(index, whole=False)
