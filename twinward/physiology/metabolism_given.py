"""What can be given to a metabolism: units, ranges, and what runs. The whole body's table is its caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinward.errors import BadInput


@dataclass(frozen=True, slots=True)
class Givable:
    what: str
    kind: str  # amount, or level: holds until changed
    unit: str
    most: float
    rate_unit: str = ""
    rate_most: float = 0.0
    least: float = 0.0
    source: str = "range [G]"
    rate: bool = False


@dataclass(slots=True)
class Flow:
    what: str
    per_step: float  # in 2 s
    left: int  # steps; -1: until changed
    bolus: bool  # an amount over time, which a new rate does not replace


GIVABLE: Mapping[str, Givable] = {
    row.what: row
    for row in (
        Givable("insulin_iv", "amount", "IU", 100.0, "IU/h", 100.0, source="hourly 0.1 IU/kg is usual, ADA/EASD 2024"),
        Givable("insulin_sc", "amount", "IU", 100.0, "IU/h", 20.0),
        Givable("glucose_iv", "amount", "g", 100.0, "g/h", 200.0),
        Givable("glucose_oral", "amount", "g", 150.0, source="tablets or juice, liquid in the stomach [G]"),
        Givable("meal", "amount", "g", 200.0, source="carbohydrate, eaten at 5 g/min"),
        Givable("glucagon", "amount", "mg", 3.0, source="1 mg into muscle is usual"),
        Givable("potassium_chloride", "amount", "mmol", 80.0, "mmol/h", 60.0),
        Givable("bicarbonate", "amount", "mmol", 400.0, "mmol/h", 300.0),
        Givable("crystalloid", "amount", "mL", 5000.0, "mL/h", 10_000.0, source="0.9 % saline"),
        Givable("water", "amount", "mL", 2000.0, "mL/h", 1000.0),
        Givable("vomit", "amount", "mL", 1500.0, source="water, sodium and potassium lost; its acid is left out"),
        Givable("furosemide", "amount", "mg", 400.0, "mg/h", 240.0),
        Givable("fever", "level", "delta_degC", 5.0, least=-2.0, source="shift of the set point"),
        Givable("cooling", "level", "W", 1000.0),
        Givable("drinking", "level", "dimensionless", 5.0, source="share of the usual intake, 0: nothing by mouth"),
        Givable("eating", "level", "dimensionless", 5.0, source="share of the usual salt and potassium"),
        Givable("basal", "level", "dimensionless", 5.0, source="share of the usual basal insulin, 0: pump off"),
    )
}
RATES = {"fever": "shift"}  # where a level has another name among the states


def allowed(what: str, amount: float, unit: str, over_s: float) -> tuple[Givable, float]:
    """The row (its `rate` telling which unit was used) and the amount.

    Raises:
        BadInput: not known, another unit, or out of range.
    """
    row = GIVABLE.get(what)
    if row is None:
        raise BadInput(f"this metabolism cannot be given that; it knows {', '.join(GIVABLE)}")
    rate = bool(row.rate_unit) and unit == row.rate_unit
    if not rate and unit != row.unit:
        raise BadInput(f"{what} is given in {row.unit}" + (f" or {row.rate_unit}" if row.rate_unit else ""))
    most = row.rate_most if rate else row.most
    if not row.least <= amount <= most:  # also false for NaN
        raise BadInput(f"{what} must lie in {row.least:g}..{most:g} {unit}")
    if not 0.0 <= over_s <= 86_400.0 or (row.kind == "level" and over_s):
        raise BadInput(f"{what} over 0..86400 s" if row.kind == "amount" else f"{what} holds until it is changed")
    return Givable(row.what, row.kind, row.unit, most, rate=rate), float(amount)
