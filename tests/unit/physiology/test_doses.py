"""Dose checks: the worst wins, more is never milder, a change of unit changes nothing, unknown is never ok."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinward.errors import BadInput
from twinward.physiology import doses
from twinward.physiology.doses import Order, Patient, Verdict, check

WELL = Patient(70.0, 50.0, 95.0, frozenset(), frozenset())
ROWS = doses.ranges()


def judged(order: Order, patient: Patient = WELL) -> Verdict:
    return check(order, patient).verdict


def test_rows_are_whole() -> None:
    for row in ROWS:
        assert doses.unit(row.unit) is not None
        assert 0 < row.low < row.high <= row.refuse
        assert row.tag in "SXMG"
        assert row.refuse_tag in "SXMG"
        assert row.source
        assert row.refuse_source
    drugs = {row.drug for row in ROWS}
    for c in doses.cautions():
        assert c.drug in drugs
        assert c.kind in ("egfr", "condition", "with")
        assert Verdict[c.verdict.upper()] in (Verdict.WARNING, Verdict.REFUSE)
        assert c.tag in "SXMG"
        assert c.source
        assert c.kind != "egfr" or float(c.key) > 0


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.drug}-{r.route}-{r.indication}-{r.unit}")
def test_each_range_is_ok_inside_warned_above_refused_far_above(row: doses.Range) -> None:
    def at(value: float) -> Verdict:
        return judged(Order(row.drug, value, row.unit, row.route, row.indication))

    assert at(row.low) == at(row.high) == Verdict.OK
    assert at(row.refuse * 1.01) == Verdict.REFUSE
    if row.refuse > row.high:
        assert at((row.high + row.refuse) / 2) == Verdict.WARNING


@given(st.sampled_from(ROWS), st.floats(0, 1e5), st.floats(0, 1e5), st.booleans())
def test_more_is_never_milder(row: doses.Range, a: float, b: float, said: bool) -> None:
    less, more = (
        judged(Order(row.drug, value, row.unit, row.route, row.indication if said else None))
        for value in sorted((a, b))
    )
    assert less <= more


WAYS = {
    "ug/kg/min": [("mcg/kg/min", 1.0), ("µg/kg/min", 1.0), ("mg/kg/h", 0.06), ("mg/h", 4.2), ("ug/min", 70.0)],
    "U/min": [("units/min", 1.0), ("U/h", 60.0), ("mU/min", 1000.0), ("IU/hr", 60.0), ("mU/kg/min", 1000 / 70)],
    "mg": [("g", 1e-3), ("ug", 1e3), ("mcg", 1e3), ("mg/kg", 1 / 70)],
    "mg/day": [("g/day", 1e-3), ("mg/d", 1.0), ("mg/kg/day", 1 / 70)],
    "U/kg": [("U", 70.0), ("units/kg", 1.0)],
}


@given(st.sampled_from([r for r in ROWS if r.unit in WAYS]), st.floats(0.01, 100), st.data())
def test_a_change_of_unit_changes_nothing(row: doses.Range, share: float, data: st.DataObject) -> None:
    written, factor = data.draw(st.sampled_from(WAYS[row.unit]))
    value = row.high * share
    before = judged(Order(row.drug, value, row.unit, row.route, row.indication))
    after = judged(Order(row.drug, value * factor, written, row.route, row.indication))
    assert before == after


def test_units_are_read_or_not_known() -> None:
    assert doses.unit("mcg/kg/min") == doses.unit("ug / kg / min") == doses.Unit(False, 1.0, True, "rate")
    assert doses.unit("mg/h") == doses.Unit(False, 1000 / 60, False, "rate")
    for written in ("MU", "mL/h", "mg/m2", "mg/kg/min/h", "", "kg", "tablet", "mg/week", "MG"):
        assert doses.unit(written) is None
        assert judged(Order("propofol", 1.0, written, "iv", "induction")) == Verdict.UNKNOWN


@pytest.mark.parametrize(
    "order",
    [
        Order("warfarin", 5.0, "mg/day", "oral"),  # drug
        Order("propofol", 100.0, "mg", "oral", "induction"),  # route
        Order("propofol", 2.0, "mL", "iv", "induction"),  # unit
        Order("vasopressin", 0.03, "mg/min", "iv", "septic shock"),  # mass where activity is meant
        Order("propofol", 2.0, "mg/kg", "iv", "hiccup"),  # indication
        Order("norepinephrine", 5.0, "ug/min", "iv"),  # nobody said why
        Order("metformin", 500.0, "mg", "oral"),  # one dose where the table has days
    ],
)
def test_what_is_not_in_the_table_is_unknown(order: Order) -> None:
    answer = check(order, WELL)
    assert answer.verdict == Verdict.UNKNOWN
    assert "known" in str(answer) or "not in the dose table" in str(answer) or "nobody said" in str(answer)


def test_what_nobody_said_is_unknown() -> None:
    order = Order("metformin", 1000.0, "mg/day", "oral", "type 2 diabetes")
    assert judged(order) == Verdict.OK
    whole = {"weight": 70.0, "age": 50.0, "egfr": 95.0, "conditions": frozenset(), "taking": frozenset()}
    for missing in ("age", "egfr", "conditions", "taking"):
        assert judged(order, Patient(**(whole | {missing: None}))) == Verdict.UNKNOWN  # type: ignore[arg-type]
    no_weight = Patient(**(whole | {"weight": None}))  # type: ignore[arg-type]
    assert judged(order, no_weight) == Verdict.OK  # not needed
    assert judged(Order("propofol", 150.0, "mg", "iv", "induction"), no_weight) == Verdict.UNKNOWN
    assert judged(order, Patient(**(whole | {"age": 9.0}))) == Verdict.UNKNOWN  # type: ignore[arg-type]
    assert judged(order, Patient(**(whole | {"taking": frozenset({"warfarin"})}))) == Verdict.UNKNOWN  # type: ignore[arg-type]


def test_a_gross_overdose_is_refused_even_where_the_reason_is_not_known() -> None:
    assert judged(Order("norepinephrine", 2.0, "mg/kg/min", "iv")) == Verdict.REFUSE
    assert judged(Order("propofol", 5.0, "g", "iv", "hiccup")) == Verdict.REFUSE


@pytest.mark.parametrize(
    ("drug", "egfr", "conditions", "taking", "expected"),
    [
        ("metformin", 29.0, (), (), Verdict.REFUSE),  # FDA 2016
        ("metformin", 40.0, (), (), Verdict.WARNING),
        ("metformin", 60.0, (), (), Verdict.OK),
        ("lisinopril", 90.0, ("angioedema",), (), Verdict.REFUSE),
        ("lisinopril", 90.0, (), ("aliskiren",), Verdict.WARNING),
        ("lisinopril", 90.0, ("diabetes",), ("aliskiren",), Verdict.REFUSE),  # FDA 2013
        ("lisinopril", 90.0, ("pregnancy",), (), Verdict.REFUSE),
        ("metoprolol", 90.0, ("cardiogenic shock",), (), Verdict.REFUSE),
    ],
)
def test_cautions(
    drug: str, egfr: float, conditions: tuple[str, ...], taking: tuple[str, ...], expected: Verdict
) -> None:
    row = next(r for r in ROWS if r.drug == drug)
    patient = Patient(70.0, 50.0, egfr, frozenset(conditions), frozenset(taking))
    answer = check(Order(drug, row.high, row.unit, row.route, row.indication), patient)
    assert answer.verdict == expected
    assert all(f.source for f in answer.findings if f.verdict != Verdict.UNKNOWN)


def test_opioid_and_benzodiazepine_warn_both_ways() -> None:
    one = Patient(70.0, 50.0, 90.0, frozenset(), frozenset({"midazolam"}))
    other = Patient(70.0, 50.0, 90.0, frozenset(), frozenset({"fentanyl"}))
    assert judged(Order("fentanyl", 50.0, "ug", "iv", "analgesia"), one) == Verdict.WARNING
    assert judged(Order("midazolam", 2.0, "mg", "iv", "sedation"), other) == Verdict.WARNING


def test_conditions_that_nobody_here_speaks_of_are_listed() -> None:
    patient = Patient(70.0, 50.0, 90.0, frozenset({"gout", "pregnancy"}), frozenset())
    answer = check(Order("lisinopril", 10.0, "mg/day", "oral", "hypertension"), patient)
    assert answer.not_considered == ("gout",)


def test_no_dose_is_no_number() -> None:
    for value in (float("nan"), float("inf"), -1.0):
        with pytest.raises(BadInput):
            check(Order("propofol", value, "mg", "iv", "induction"), WELL)
    with pytest.raises(BadInput):
        Patient(weight=float("nan"))
