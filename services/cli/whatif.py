"""Treatment plans as people write them, and what would come of them, side by side.

A plan is written as actions with a minute from now, apart by semicolons, a name before if wanted:

    bolus 2 @0                       IU
    eat 30 @15                       g of carbohydrate with a meal
    fast 16 @0                       g of carbohydrate as tablets or juice
    basal -0.4 @0 for 120            IU/h added to the rate that runs, minutes
    snack first: eat 15 @0; bolus 1 @30
"""

from __future__ import annotations

import re

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.curve import Point, band_curve
from services.cli.twin import reading
from twinward.errors import BadInput
from twinward.wire.v1 import record_pb2, twin_pb2

ACTION = re.compile(r"(bolus|eat|fast|basal)\s+([+-]?\d+(?:\.\d+)?)\s*@\s*(\d{1,4})(?:\s+for\s+(\d{1,4}))?")
HOW = "a plan is actions like 'bolus 2 @0; eat 15 @30; fast 16 @0; basal -0.4 @0 for 120'"
CURVES = 3  # more are told in the table only


def plan(text: str) -> twin_pb2.Plan:
    """Raises BadInput where `text` is not a plan as written above."""
    name, colon, rest = text.rpartition(":")
    actions = [_action(part) for part in rest.split(";") if part.strip()]
    if not actions or (colon and not name.strip()):
        raise BadInput(HOW)
    return twin_pb2.Plan(name=name.strip() or " ".join(rest.split())[:60], actions=actions)


def _action(text: str) -> twin_pb2.PlanAction:
    found = ACTION.fullmatch(text.strip())
    if not found or (found[1] == "basal") != bool(found[4]):
        raise BadInput(HOW)
    verb, amount, minute = found[1], float(found[2]), int(found[3])
    if verb == "bolus":
        return twin_pb2.PlanAction(minute=minute, bolus_iu=amount)
    if verb == "eat":
        return twin_pb2.PlanAction(minute=minute, meal_g=amount)
    if verb == "fast":
        return twin_pb2.PlanAction(minute=minute, fast_g=amount)
    return twin_pb2.PlanAction(minute=minute, basal=twin_pb2.BasalChange(iu_per_h=amount, minutes=int(found[4])))


# What people see ---------------------------------------------------------------


def whatif_view(answer: twin_pb2.WhatIfResponse) -> RenderableType:
    parts: list[RenderableType] = [
        Text("Last reading: " + reading(answer.last_reading).replace("\n", ", ")),
        Text(f"Response of: {answer.title}", style="bold"),
        *(Text(f"  {line}") for line in answer.why),
        plans_table(answer),
    ]
    told = [one for one in answer.plans if one.points]
    for one in told[:CURVES]:
        parts += [Text(f"{one.name} (mg/dL, band {one.points[0].glucose.coverage:.0%})"), Text(curve(answer, one))]
    for one in answer.plans:
        parts += [Text(f"note: {one.name}: {note}", style="yellow") for note in one.notes]
        if one.refusal:
            parts.append(Text(f"{one.name}: {one.refusal} ({one.refusal_reason})", style="red"))
    for rule in answer.rules:
        parts.append(Text(f"guideline: {rule.text}\n  {rule.citation}\n  {rule.label}"))
    parts += [Text(f"note: {note}", style="yellow") for note in answer.notes]
    parts.append(Text(f"{answer.model_version} · ledger entry {answer.leaf} · {answer.banner}", style="dim"))
    return Group(*parts)


def plans_table(answer: twin_pb2.WhatIfResponse) -> Table:
    ends = answer.plans[0].points[-1].minutes_ahead if answer.plans and answer.plans[0].points else 0
    table = Table(title=f"Within {ends} min", title_justify="left", show_lines=True)
    table.add_column("plan")
    for name in ("on mean glucose", "lowest", "70 to 180", "ever below 70", "below 54", "above 250"):
        table.add_column(name)
    for k, one in enumerate(answer.plans):
        if not one.points:
            table.add_row(one.name, "refused", *[""] * 5)
            continue
        table.add_row(
            one.name,
            "the reference" if k == 0 else signed(one.effect),
            short(one.lowest),
            *(short(each) for each in (one.time_in_range, one.below_70, one.below_54, one.above_250)),
        )
    if answer.plans and answer.plans[0].points:
        source = answer.plans[0].lowest
        table.caption = f"in brackets {source.coverage:.0%}; from {source.source}"
        table.caption_justify = "left"
    return table


def short(quantity: record_pb2.Quantity) -> str:
    """'88 mg/dL' and below it '(61 to 120)'."""
    return f"{quantity.value:.0f} {quantity.unit}\n({quantity.low:.0f} to {quantity.high:.0f})"


def signed(quantity: record_pb2.Quantity) -> str:
    return f"{quantity.value:+.0f} {quantity.unit}\n({quantity.low:+.0f} to {quantity.high:+.0f})"


def curve(answer: twin_pb2.WhatIfResponse, one: twin_pb2.PlanAnswer) -> str:
    points = [Point(float(p.minutes_ahead), p.glucose.value, p.glucose.low, p.glucose.high) for p in one.points]
    return band_curve([(0.0, answer.last_reading.value)], points, height=8)
