"""Why the monitor changed: the chain from cause to sign, read from the body's own states, not from what was done.

Each rule compares two moments, and speaks only where both the sign and its cause moved enough. Pressure is output
times resistance, output is stroke volume times rate, stroke volume follows filling and contractility; each link is
asked in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Numerics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Change:
    a: Numerics
    b: Numerics

    def by(self, name: str) -> float:
        return self.b[name] - self.a[name]

    def share(self, name: str) -> float:
        return self.b[name] / self.a[name] - 1.0 if self.a[name] else 0.0


def reasons(since: Numerics, now: Numerics) -> list[str]:
    """Sentences, most important first; empty where nothing moved enough."""
    change = Change(since, now)
    return [text for rule in RULES for text in rule(change)]


def pressure(d: Change) -> list[str]:
    if abs(d.by("MAP")) < 5.0:
        return []
    word = "rose" if d.by("MAP") > 0 else "fell"
    up = d.by("MAP") > 0
    links = []
    for name, text in (("output", "cardiac output"), ("SVR", "systemic resistance")):
        if (d.share(name) > 0.05) == up and abs(d.share(name)) > 0.05:
            links.append((abs(d.share(name)), f"{text} {word} by {100 * abs(d.share(name)):.0f} %"))
    causes = " and ".join(text for _, text in sorted(links, reverse=True))
    moved = f"mean pressure {word} from {d.a['MAP']:.0f} to {d.b['MAP']:.0f} mmHg"
    return [f"{moved} because {causes}" if causes else f"{moved}: small changes of flow and resistance together"]


def stroke(d: Change) -> list[str]:
    if abs(d.share("stroke_volume")) < 0.08:
        return []
    up = d.by("stroke_volume") > 0
    word, causes = ("rose" if up else "fell"), []
    filling = d.by("CVP") + 0.5 * d.by("LAP")
    if abs(filling) > 0.7 and (filling > 0) == up:
        causes.append(f"filling pressure {word} (CVP {d.a['CVP']:.0f} to {d.b['CVP']:.0f} mmHg)")
    if abs(d.share("failing")) > 0.05 and (d.by("failing") > 0) == up:
        causes.append("oxygen debt weakens the heart" if not up else "the heart recovers from oxygen debt")
    if abs(d.share("contractility_drugs")) > 0.04 and (d.by("contractility_drugs") > 0) == up:
        causes.append(f"a drug {'raises' if up else 'lowers'} contractility")
    if abs(d.share("SVR")) > 0.1 and (d.by("SVR") < 0) == up:
        causes.append(f"the heart pumps against {'less' if up else 'more'} resistance")
    text = f"stroke volume {word} from {d.a['stroke_volume']:.0f} to {d.b['stroke_volume']:.0f} mL"
    return [f"{text} because {' and '.join(causes)}" if causes else text]


def volume(d: Change) -> list[str]:
    found = []
    if d.by("lost") > 50.0:
        found.append(f"filling fell: {d.by('lost'):.0f} mL of blood lost")
    if d.by("leaked") > 50.0:
        found.append(f"filling fell: capillaries leaked {d.by('leaked'):.0f} mL of plasma into tissue")
    if d.by("blood") > 100.0:
        found.append(f"blood volume rose by {d.by('blood'):.0f} mL: what was given, and water drawn back from tissue")
    if d.by("veins_drugs") > 0.02:
        found.append("filling fell: a drug widens the veins, which hold more blood")
    if d.by("veins_drugs") < -0.02:
        found.append("filling rose: a drug narrows the veins")
    return found


def resistance(d: Change) -> list[str]:
    found = []
    if d.by("severity") > 0.05:
        found.append(
            f"resistance fell: inflammation widens vessels (severity {d.a['severity']:.2f} to {d.b['severity']:.2f})"
        )
    if d.by("severity") < -0.05:
        found.append(f"vessels regain tone: damage heals (severity {d.a['severity']:.2f} to {d.b['severity']:.2f})")
    if d.by("resistance_drugs") > 0.05:
        found.append("resistance rose: a drug narrows arterioles")
    if d.by("resistance_drugs") < -0.05:
        found.append("resistance fell: a drug widens arterioles")
    if d.by("pathogen") < -1.0:
        found.append("pathogen is being killed; damage follows hours later")
    return found


def rate(d: Change) -> list[str]:
    if abs(d.by("HR")) < 6.0:
        return []
    word = "rose" if d.by("HR") > 0 else "fell"
    text = f"heart rate {word} from {d.a['HR']:.0f} to {d.b['HR']:.0f}"
    if d.by("HR") > 0 and d.by("MAP") < -3.0:
        return [f"{text}: the baroreflex answers the lower pressure"]
    if d.by("HR") < 0 and d.by("MAP") > 3.0:
        return [f"{text}: the baroreflex answers the higher pressure"]
    if d.by("HR") > 0 and (d.by("severity") > 0.03 or d.by("temperature") > 0.4):
        return [f"{text}: fever and inflammation drive the heart"]
    return [text]


def breathing(d: Change) -> list[str]:
    found = []
    if abs(d.by("SpO2")) >= 2.0:
        word = "fell" if d.by("SpO2") < 0 else "rose"
        text = f"saturation {word} from {d.a['SpO2']:.0f} to {d.b['SpO2']:.0f} %"
        if d.by("SpO2") < 0 and d.by("shunt") > 0.02:
            text += (
                f": lungs are wet at a left atrial pressure of {d.b['LAP']:.0f} mmHg, blood passes them without oxygen"
            )
        elif d.by("SpO2") < 0 and d.by("breathing_drugs") < -0.1:
            text += ": a drug depresses breathing"
        elif d.by("SpO2") > 0 and d.by("shunt") < -0.02:
            text += ": lungs open"
        elif d.by("SpO2") > 0:
            text += ": more oxygen in the alveoli"
        found.append(text)
    if d.by("breathing_drugs") < -0.1:
        found.append(f"breathing fell to {d.b['RR']:.0f} a minute: a drug depresses its drive")
    elif abs(d.by("RR")) >= 4.0:
        found.append(f"breaths went from {d.a['RR']:.0f} to {d.b['RR']:.0f} a minute: acids, fever or wet lungs")
    return found


def debt(d: Change) -> list[str]:
    found = []
    if d.by("debt") > 5.0:
        found.append(f"delivery does not meet demand: oxygen debt {d.b['debt']:.0f} mL/kg, lactate forms")
    if d.by("debt") < -5.0:
        found.append(f"delivery is enough again: oxygen debt is repaid ({d.b['debt']:.0f} mL/kg left)")
    return found


def kidney(d: Change) -> list[str]:
    if abs(d.by("urine")) < 20.0:
        return []
    if d.by("urine") < 0:
        return (
            [f"urine fell to {d.b['urine']:.0f} mL/h: the kidney sees less pressure and flow"]
            if d.by("MAP") < -3
            else []
        )
    return [f"urine rose to {d.b['urine']:.0f} mL/h"]


RULES: tuple[Callable[[Change], list[str]], ...] = (pressure, stroke, volume, resistance, rate, breathing, debt, kidney)
