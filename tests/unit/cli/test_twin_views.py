"""What the twin's answers look like to people and to machines."""

from __future__ import annotations

from uuid import UUID

import pytest
from rich.console import Console

from services.cli.curve import Point, band_curve
from services.cli.twin import age, as_data, forecast_view, moment, number, patient_ref
from services.cli.whatif import plan, whatif_view
from twinward.errors import BadInput
from twinward.wire.v1 import record_pb2, twin_pb2

HANDLE = UUID(int=5)
T = 1_795_348_800_000  # 2026-11-22T12:00Z


def quantity(value: float, at_ms: int, age_ms: int = 0) -> record_pb2.Quantity:
    return record_pb2.Quantity(
        value=value,
        unit="mg/dL",
        time_ms=at_ms,
        age_ms=age_ms,
        low=value - 20,
        high=value + 20,
        coverage=0.9,
        source="m",
    )


def answer() -> twin_pb2.ForecastResponse:
    points = [
        record_pb2.ForecastPoint(minutes_ahead=m, glucose=quantity(100 + m, T + m * 60_000), physiology_share=0.25)
        for m in (30, 60, 120)
    ]
    return twin_pb2.ForecastResponse(
        handle=HANDLE.bytes, last_reading=quantity(100, T, 240_000), points=points, model_version="g-1", seq=9, leaf=7,
        banner="education", notes=["no meal is logged"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mrn", "handle"),
    [(None, None), ("a|b", str(HANDLE)), ("no bar", None), ("|value", None), ("system|", None), (None, "not a uuid")],
)
def test_whom_must_be_said_once_and_readably(mrn: str | None, handle: str | None) -> None:
    with pytest.raises(BadInput):
        patient_ref(mrn, handle)


def test_a_number_may_hold_bars_in_its_system() -> None:
    ref = patient_ref("urn:a|b|12", None)
    assert (ref.identifier.system, ref.identifier.value) == ("urn:a|b", "12")
    assert patient_ref(None, str(HANDLE)).handle == HANDLE.bytes


def test_ages_and_numbers() -> None:
    told = [age(ms) for ms in (40_000, 240_000, 3 * 3_600_000 + 300_000, 12 * 86_400_000)]
    assert told == ["40 s", "4 min", "3 h 05 min", "12 d"]
    assert number(quantity(142.4, T)) == "142 mg/dL (122 to 162, 90%)"
    ratio = record_pb2.Quantity(value=1.5, unit="{ratio}", low=1.25, high=2, coverage=0.9)
    assert number(ratio) == "1.50 x typical (1.25 to 2.00, 90%)"


def test_a_forecast_shows_every_number_with_unit_age_band_and_source() -> None:
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as seen:
        console.print(forecast_view(answer()))
    text = seen.get()
    for wanted in ("100 mg/dL (80 to 120, 90%)", "4 min old", "from m", "160 mg/dL (140 to 180, 90%)", "13:00", "25%",
                   "no meal is logged", "ledger entry 7", "education"):  # fmt: skip
        assert wanted in text, wanted
    assert "░" in text
    assert "━" in text


def test_machines_get_every_field_and_handles_as_text() -> None:
    data = as_data(answer())
    assert data["handle"] == str(HANDLE)
    assert data["points"][1]["glucose"]["value"] == 160.0
    assert data["last_reading"]["age_ms"] == "240000"
    listed = twin_pb2.ListTwinsResponse(twins=[twin_pb2.TwinSummary(handle=HANDLE.bytes, note="no twin yet")])
    assert as_data(listed)["twins"][0]["handle"] == str(HANDLE)


def test_the_curve_marks_limits_and_stays_in_its_frame() -> None:
    lines = band_curve([(-30.0, 90.0), (0.0, 120.0)], [Point(60, 150, 100, 320)], width=40, height=9).splitlines()
    assert len(lines) == 10
    assert sum("┤" in line for line in lines) == 2
    assert all(len(line) <= 7 + 40 for line in lines)
    assert "●" in "".join(lines)
    assert band_curve([], []) == ""


def test_a_moment_without_zone_is_utc() -> None:
    assert moment("2026-11-22T12:00") == moment("2026-11-22T13:00+01:00") == T
    with pytest.raises(BadInput):
        moment("yesterday")


def test_a_plan_is_read_as_written() -> None:
    read = plan("snack first: eat 15 @0; fast 4.5 @10 ;bolus 2 @ 30; basal -0.4 @0 for 120")
    assert read.name == "snack first"
    assert [one.WhichOneof("what") for one in read.actions] == ["meal_g", "fast_g", "bolus_iu", "basal"]
    assert (read.actions[2].bolus_iu, read.actions[2].minute) == (2.0, 30)
    assert (read.actions[3].basal.iu_per_h, read.actions[3].basal.minutes) == (-0.4, 120)
    assert plan("bolus  2 @0").name == "bolus 2 @0"


@pytest.mark.parametrize(
    "text", ["", ";", "bolus 2", "bolus two @0", "basal 1 @0", "bolus 2 @0 for 10", "drink 5 @0", ": bolus 1 @0"]
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="a plan is actions"):
        plan(text)


def whatif_answer() -> twin_pb2.WhatIfResponse:
    def number(value: float, unit: str = "mg/dL") -> record_pb2.Quantity:
        return record_pb2.Quantity(
            value=value, unit=unit, low=value - 9, high=value + 9, coverage=0.9, source="w on g-1"
        )

    def told(name: str, effect: float) -> twin_pb2.PlanAnswer:
        points = [
            twin_pb2.PlanPoint(minutes_ahead=m, glucose=number(150 + effect), effect=number(effect)) for m in (30, 60)
        ]
        return twin_pb2.PlanAnswer(
            name=name, points=points, time_in_range=number(80, "%"), lowest=number(101), below_70=number(12, "%"),
            below_54=number(9, "%"), above_250=number(10, "%"), effect=number(effect), effect_in_range=number(1, "%"),
        )  # fmt: skip

    refused = twin_pb2.PlanAnswer(name="both", refusal="the two body models differ", refusal_reason="MODELS_DISAGREE")
    rule = twin_pb2.GuidelineRule(text="15 to 20 g of glucose", citation="ADA 2024", label="education and research")
    return twin_pb2.WhatIfResponse(
        handle=HANDLE.bytes, last_reading=quantity(150, T, 240_000), title="typical patient",
        why=["3 days with logged insulin and meals"], plans=[told("nothing more", 0), told("bolus 2 @0", -31), refused],
        rules=[rule], model_version="w on g-1", leaf=8, banner="education and research",
    )  # fmt: skip


def test_plans_stand_side_by_side_with_reference_refusal_and_source() -> None:
    console = Console(width=120, record=True, file=None, force_terminal=False)
    with console.capture() as seen:
        console.print(whatif_view(whatif_answer()))
    text = seen.get()
    for wanted in ("typical patient", "3 days with logged", "the reference", "-31 mg/dL", "(-40 to -22)", "101 mg/dL",
                   "12 %", "refused", "the two body models differ (MODELS_DISAGREE)", "15 to 20 g", "ADA 2024",
                   "from w on g-1", "Within 60 min", "4 min old", "ledger entry 8", "░"):  # fmt: skip
        assert wanted in text, wanted
    assert as_data(whatif_answer())["plans"][2]["refusal_reason"] == "MODELS_DISAGREE"
