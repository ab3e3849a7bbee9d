"""Random Consents, and an oracle that decides them day by day from the raw JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from services.auth.consent import Answer, Question
from twinward.record import SENSITIVE, Category, Purpose

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
LABEL = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONF = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
OWN = "urn:twinward:category"
OWN_PURPOSE = "urn:twinward:purpose"

ALL = frozenset(Category)
# code -> (categories when permitted, categories when denied); None: all of them
LABELS: dict[tuple[str, str], tuple[frozenset[Category], frozenset[Category]]] = {
    (OWN, "labs"): (frozenset({Category.LABS}), frozenset({Category.LABS})),
    (OWN, "devices"): (frozenset({Category.DEVICES}), frozenset({Category.DEVICES})),
    (CONF, "N"): (ALL - SENSITIVE, ALL - SENSITIVE),
    (CONF, "R"): (SENSITIVE, SENSITIVE),
    (LABEL, "PSY"): (frozenset({Category.PSYCHIATRY}), frozenset({Category.PSYCHIATRY, Category.RESTRICTED})),
    (LABEL, "ETHUD"): (frozenset(), frozenset({Category.SUBSTANCE_USE, Category.RESTRICTED})),
    (LABEL, "NOBODY-KNOWS"): (frozenset(), ALL),
    ("urn:elsewhere", "labs"): (frozenset(), ALL),
}
PURPOSES: dict[tuple[str, str], tuple[frozenset[Purpose], frozenset[Purpose]]] = {
    (ACT, "TREAT"): (frozenset({Purpose.TREATMENT}), frozenset({Purpose.TREATMENT})),
    (ACT, "HRESCH"): (frozenset({Purpose.RESEARCH}), frozenset({Purpose.RESEARCH})),
    (ACT, "HPAYMT"): (frozenset(), frozenset()),
    (OWN_PURPOSE, "upkeep"): (frozenset({Purpose.UPKEEP}), frozenset({Purpose.UPKEEP})),
    ("http://example.org/policies/purposeOfUse", "FooBar"): (frozenset(), frozenset(Purpose)),
}
DATES = ("2021", "2021-12-31", "2022-01-01", "2022-03", "2022-03-15", "2022-12-31", "2023-02-28T12:00:00Z")

QUESTIONS = st.builds(
    Question,
    purpose=st.sampled_from([Purpose.TREATMENT, Purpose.RESEARCH, Purpose.UPKEEP, Purpose.TEACHING]),
    category=st.sampled_from([Category.LABS, Category.DEVICES, Category.IDENTITY, *sorted(SENSITIVE)]),
    month=st.sampled_from([0, 202012, 202101, 202112, 202201, 202203, 202204, 202212, 202301, 202302, 202303]),
    now_ms=st.sampled_from(["2021-06-30", "2022-03-15", "2022-03-16", "2023-01-01", "2026-11-22"]).map(
        lambda day: int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    ),
    who=st.sampled_from([frozenset({"dr-1"}), frozenset({"dr-2"}), frozenset[str]()]),
)


def coding(pair: tuple[str, str]) -> dict[str, str]:
    return {"system": pair[0], "code": pair[1]}


def _period(draw: st.DrawFn) -> dict[str, str]:
    start = draw(st.integers(0, len(DATES) - 1))
    end = draw(st.integers(start, len(DATES) - 1))
    period = {"start": DATES[start], "end": DATES[end]}
    for name in draw(st.sampled_from([(), (), ("start",), ("end",)])):
        del period[name]
    return period


@st.composite
def provisions(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    node: dict[str, Any] = {"type": draw(st.sampled_from(["permit", "deny"]))}
    if draw(st.booleans()):
        chosen = draw(st.lists(st.sampled_from(sorted(PURPOSES)), min_size=1, max_size=3, unique=True))
        node["purpose"] = [coding(pair) for pair in chosen]
    if draw(st.booleans()):
        labels = draw(st.lists(st.sampled_from(sorted(LABELS)), min_size=1, max_size=2, unique=True))
        node["securityLabel"] = [coding(pair) for pair in labels]
    if draw(st.integers(0, 3)) == 0:
        node["dataPeriod"] = _period(draw)
    if draw(st.integers(0, 3)) == 0:
        node["period"] = _period(draw)
    if draw(st.integers(0, 4)) == 0:
        node["actor"] = [{"reference": {"reference": "Practitioner/dr-1"}}]
    if draw(st.integers(0, 6)) == 0:
        node["data"] = [{"meaning": "instance", "reference": {"reference": "Observation/1"}}]
    if depth < 2:
        children = draw(st.lists(provisions(depth + 1), max_size=2))
        if children:
            node["provision"] = children
    return node


@st.composite
def consents(draw: st.DrawFn) -> dict[str, Any]:
    status = draw(st.sampled_from(["active"] * 8 + ["inactive", "entered-in-error"]))
    name = draw(st.sampled_from(["a", "b", "c"]))
    return {"resourceType": "Consent", "id": name, "status": status, "provision": draw(provisions())}


def bounds(text: str) -> tuple[date | datetime, date | datetime]:
    """First and last day (or the instant itself) that a FHIR date stands for."""
    if len(text) == 4:
        return date(int(text), 1, 1), date(int(text), 12, 31)
    if len(text) == 7:
        first = date.fromisoformat(text + "-01")
        last = first
        while (last + timedelta(days=1)).month == first.month:
            last += timedelta(days=1)
        return first, last
    if len(text) == 10:
        return date.fromisoformat(text), date.fromisoformat(text)
    return datetime.fromisoformat(text), datetime.fromisoformat(text)


def as_day(at: date | datetime) -> date:
    return at.date() if isinstance(at, datetime) else at


def days_of(month: int) -> list[date]:
    day = date(month // 100, month % 100, 1)
    found = [day]
    while (found[-1] + timedelta(days=1)).month == day.month:
        found.append(found[-1] + timedelta(days=1))
    return found


def day_inside(day: date, period: dict[str, str], whole: bool) -> bool:
    """`whole`: all of the day lies in the period; else any instant of it does."""
    inside = True
    if "start" in period:
        start = bounds(period["start"])[0]
        partly = isinstance(start, datetime) and day == start.date()
        inside &= as_day(start) < day or (day == as_day(start) and not (whole and partly))
    if "end" in period:
        end = bounds(period["end"])[1]
        partly = isinstance(end, datetime) and day == end.date()
        inside &= day < as_day(end) or (day == as_day(end) and not (whole and partly))
    return inside


def instant_inside(ms: int, period: dict[str, str]) -> bool:
    day = datetime.fromtimestamp(ms / 1000, UTC).date()
    return day_inside(day, period, whole=True)


def matches(node: dict[str, Any], question: Question) -> bool:
    """`node` holds every element it has, its own or inherited."""
    permit = node["type"] == "permit"
    side = 0 if permit else 1
    if "purpose" in node:
        named = [PURPOSES[one["system"], one["code"]][side] for one in node["purpose"]]
        if not any(question.purpose in one for one in named):
            return False
    if "securityLabel" in node:
        labelled = [LABELS[one["system"], one["code"]][side] for one in node["securityLabel"]]
        if not any(question.category in one for one in labelled):
            return False
    elif permit and question.category in SENSITIVE:
        return False
    if "period" in node and not instant_inside(question.now_ms, node["period"]):
        return False
    if "dataPeriod" in node:
        if question.month == 0:
            if permit:
                return False
        elif not (all if permit else any)(day_inside(d, node["dataPeriod"], permit) for d in days_of(question.month)):
            return False
    if "actor" in node and "dr-1" not in question.who:
        return False
    return not (permit and "data" in node)


def decide(consent: dict[str, Any], question: Question) -> Answer:
    """The innermost provisions that match decide together; a deny among them wins."""
    if consent["status"] != "active":
        return Answer.SILENT
    innermost: list[str] = []

    def walk(node: dict[str, Any], parent: dict[str, Any]) -> bool:
        full = {**{key: value for key, value in parent.items() if key not in ("type", "provision")}, **node}
        below = [walk(child, full) for child in node.get("provision", [])]
        if any(below):
            return True
        if matches(full, question):
            innermost.append(full["type"])
            return True
        return False

    walk(consent["provision"], {})
    if "deny" in innermost:
        return Answer.DENY
    if "permit" in innermost:
        return Answer.PERMIT
    root = consent["provision"]
    if root["type"] == "permit" and (
        "purpose" not in root
        or any(question.purpose in PURPOSES[one["system"], one["code"]][0] for one in root["purpose"])
    ):
        return Answer.CLOSED
    return Answer.SILENT
