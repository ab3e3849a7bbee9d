"""Brain of the patient: flow within its limits, injury outside them, and the alarm it sends.

    limits    lower = max(73 + 40 h, 0.75 A)     upper = 120 + 30 h     h: strength of lasting hypertension
    custom    A' = (MAP - A) / 1 h               pressure of the last hour, which the vessels are set to [G]
    flow      MAP / lower below the lower limit, MAP / upper above the upper one, else 1
    injury    I' = (1 - I) (1.5 (flow - 1)+ + 3 (1 - flow)+) an hour [G]
    alarm     D' = (clip(0.7 hypoxia + 0.07 (water - 3)+ + 0.4 h I, 0, 1) - D) / 3 min [G]
              set point of the baroreflex + 20 D mmHg, resistance x (1 + 0.3 D), unstressed veins x (1 - 0.08 D),
              rate + 40 D a minute, contractility x (1 + 0.15 D)

Limits: cerebral flow falls below 73 mmHg in healthy and below 113 in severely hypertensive people (Strandgaard 1976
[M]; both limits shifted upwards in hypertension: Strandgaard 1973 [S]), and a fall of mean pressure by a quarter brings
both to the lower limit (Miller's Anesthesia, 6th ed. [S]): that is the 0.75, and why guidelines lower mean pressure by
at most 25 % in the first hour. Upper limits, rates of injury and sizes of the alarm are estimates that illustrate a
direction: breathlessness and wet lungs call sympathetic drive, which loads the heart that made them. No measured injury
stands behind I; it is a number for teaching. mmHg, hours, seconds.
Functions take floats or pint quantities. Valid for adults who are awake; no stroke, no pressure in the skull.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinward.physiology.compiled import Scalar
from twinward.physiology.meaning import Meaning

PARAMETERS: Mapping[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("lower", "lower limit of autoregulation, no hypertension", "mmHg", 50.0, 90.0, "Strandgaard 1976 [M]"),
        ("lower_more", "what lasting hypertension adds to it", "mmHg", 20.0, 60.0, "Strandgaard 1976 [M]"),
        ("upper", "upper limit of autoregulation, no hypertension", "mmHg", 110.0, 160.0, "[G]"),
        ("upper_more", "what lasting hypertension adds to it", "mmHg", 10.0, 60.0, "[G]"),
        ("share", "of the accustomed pressure at the lower limit", "dimensionless", 0.6, 0.85, "Miller 6th ed. [S]"),
        ("custom_h", "time vessels take to get used to a pressure", "hour", 0.3, 24.0, "[G]"),
        ("over_per_h", "injury by flow above usual", "1/hour", 0.3, 5.0, "[G]"),
        ("under_per_h", "injury by flow below usual", "1/hour", 0.5, 10.0, "[G]"),
        ("alarm_s", "time constant of the alarm", "s", 30.0, 900.0, "[G]"),
    )
}
VALUES: Mapping[str, float] = {
    "lower": 73.0, "lower_more": 40.0, "upper": 120.0, "upper_more": 30.0, "share": 0.75, "custom_h": 1.0,
    "over_per_h": 1.5, "under_per_h": 3.0, "alarm_s": 180.0,
}  # fmt: skip
ALARM_HYPOXIA, ALARM_WATER, WATER_FELT, ALARM_INJURY = 0.7, 0.07, 3.0, 0.4
SET_POINT, RESISTANCE, VEINS, RATE, CONTRACTILITY = 20.0, 0.3, -0.08, 40.0, 0.15


def limits(accustomed: Scalar, hypertension: float, mmHg: Scalar = 1.0) -> tuple[Scalar, Scalar]:
    """Lower and upper limit of autoregulation; `mmHg` is the unit of `accustomed`."""
    v = VALUES
    lower = (v["lower"] + v["lower_more"] * hypertension) * mmHg
    upper = (v["upper"] + v["upper_more"] * hypertension) * mmHg
    return max(lower, v["share"] * accustomed), max(upper, lower)


def flow(MAP: Scalar, lower: Scalar, upper: Scalar) -> float:
    """Over its usual value."""
    if lower > MAP:
        return float(MAP / lower)
    return float(MAP / upper) if upper < MAP else 1.0


def injury_rate(injury: float, flow: float) -> float:
    """1/h; from no injury (0) towards all (1)."""
    v = VALUES
    return (1.0 - injury) * (v["over_per_h"] * max(flow - 1.0, 0.0) + v["under_per_h"] * max(1.0 - flow, 0.0))


def called(hypoxia: float, water: float, injury: float) -> float:
    """Where the alarm goes: 0 (calm) to 1."""
    felt = ALARM_HYPOXIA * hypoxia + ALARM_WATER * max(water - WATER_FELT, 0.0) + ALARM_INJURY * injury
    return min(max(felt, 0.0), 1.0)


@dataclass(slots=True)
class Brain:
    accustomed: float = 90.0  # mmHg
    hypertension: float = 0.0
    flow: float = 1.0
    injury: float = 0.0
    alarm: float = 0.0

    def advance(self, MAP: float, hypoxia: float, water: float, seconds: float) -> None:
        hours = seconds / 3600.0
        self.flow = flow(MAP, *limits(self.accustomed, self.hypertension))
        self.injury = min(self.injury + injury_rate(self.injury, self.flow) * hours, 1.0)
        self.accustomed += (MAP - self.accustomed) * min(hours / VALUES["custom_h"], 1.0)
        goal = called(hypoxia, water, self.hypertension * self.injury)  # a swollen brain raises its own pressure
        self.alarm += (goal - self.alarm) * min(seconds / VALUES["alarm_s"], 1.0)

    def factors(self, rate_kept: float = 1.0, force_kept: float = 1.0) -> dict[str, float]:
        """On parameters of the circulation; `kept` is what beta-blockers leave of it."""
        arteries, force = 1.0 + RESISTANCE * self.alarm, 1.0 + CONTRACTILITY * self.alarm * force_kept
        return dict.fromkeys(("Rsp0", "Rep0", "GRsp", "GRep"), arteries) | {
            "Vsv0": 1.0 + VEINS * self.alarm, "Vev0": 1.0 + VEINS * self.alarm, "El0": force, "Er0": force,
        }  # fmt: skip

    def set_point(self) -> float:
        """mmHg on top of the baroreflex's set point: drive is not braked by the pressure it makes."""
        return SET_POINT * self.alarm

    def faster(self, kept: float = 1.0) -> float:
        """Beats a minute more."""
        return RATE * self.alarm * kept
