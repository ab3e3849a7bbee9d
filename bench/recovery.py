"""Truths for `twinward.learning.identify`: people whose body is known, and what their sensor and diary say.

`matched`   S2008 with only the four logarithms drawn from the prior; miscounted carbohydrates, Vettoretti's sensor
`member`    a person of the cohort, whose other 28 parameters differ too; some meals and doses unlogged, better and
            worse days, a daily rhythm (twinward/physiology/virtual.py)
`hovorka`   the same with the other model: no S2008 sensitivity exists, only an order
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path

import numpy as np

from twinward.learning import identify
from twinward.physiology import cgm, cohort, hovorka, virtual
from twinward.physiology import glucose as s2008

FELT_MIN = 360  # after one unit
LEARNED, JUDGED = 6, 5  # seeds: EITHER_SD of identify.py is from the first
EVIDENCE = Path("docs/evidence")
BEGIN, END = "<!-- table: python -m bench.recovery --write -->", "<!-- end of table -->"
USED = ("learning/identify", "physiology/virtual", "physiology/hovorka", "physiology/glucose", "physiology/cgm")


def grams_per_unit(p: np.ndarray, basal: float) -> float:
    """The ratio with which 60 g end where they began after five hours."""
    low, high = 2.0, 60.0
    for _ in range(14):
        middle = np.sqrt(low * high)
        grams, units, x, out = np.zeros(300), np.full(300, s2008.basal_rate(p)), np.zeros(13), np.empty(300)
        grams[:12] = 5.0
        units[0] += 60.0 / middle
        s2008.rest(p, basal, x)
        s2008.simulate(p, x, np.zeros(3), grams, units, 1, out)
        low, high = (low, middle) if out[-1] > basal else (middle, high)
    return float(np.sqrt(low * high))


def spread(meals: list[tuple[int, float]], minutes: int) -> np.ndarray:
    grams = np.zeros(minutes)
    for at, amount in meals:
        for k in range(int(np.ceil(amount / 5))):
            if at + k < minutes:
                grams[at + k] += min(5.0, amount - 5 * k)
    return grams


def matched(seed: int, number: int, days: int) -> tuple[identify.Block, np.ndarray]:
    """(what is seen, the true four logarithms)."""
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    while True:
        truth = identify.PRIOR_SD[:5] * chance.standard_normal(5)
        if np.abs(truth[:4]).max() < identify.MOST and abs(truth[1]) < 0.22:
            break
    weight = float(np.exp(np.log(80) + 0.15 * chance.standard_normal()))
    base, basal = identify.population(weight)
    p = base.copy()
    EGPb = base[s2008.KP1] - base[s2008.KP2] * base[s2008.VG] * basal - base[s2008.KP3] * base[s2008.IB]
    p[[s2008.VMX, s2008.KP3]] *= np.exp(truth[0])
    p[[s2008.KABS, s2008.KMAX, s2008.KMIN]] *= np.exp(truth[2])
    p[[s2008.KA1, s2008.KA2, s2008.KD]] *= np.exp(truth[3])
    Gb = basal * np.exp(truth[1])
    s2008.balance(p, Gb, EGPb)
    ratio = grams_per_unit(p, Gb)
    minutes = days * 1440
    eaten: list[tuple[int, float]] = []
    above = np.zeros(minutes)
    for day in range(days):
        for usual, amount, often in virtual.MEALS:
            at = int(day * 1440 + usual + 25 * chance.standard_normal())
            grams = float(np.clip(amount * np.exp(0.25 * chance.standard_normal()), 5, 110))
            dose = grams / ratio * np.exp(0.25 * chance.standard_normal())
            if chance.random() < often:
                eaten.append((at, grams))
                above[at - 5] += dose
    x, true = np.zeros(13), np.empty(minutes)
    s2008.rest(p, Gb, x)
    grams_eaten = spread(eaten, minutes)
    s2008.simulate(p, x, np.zeros(3), grams_eaten, s2008.basal_rate(p) + above, 1, true)
    seen = cgm.draw(chance).read(true[4::5], chance)
    return identify.Block(seen, grams_eaten * np.exp(-truth[4]), above, weight), truth[:4]


def lived(seed: int, number: int, days: int, kind: str) -> tuple[identify.Block, np.ndarray]:
    """(what is seen, the true logarithms: four over the population's for a member, one without a zero for Hovorka)."""
    life = virtual.live(days, seed, number, kind)
    above = np.zeros(days * 1440)
    for dose in life.boluses:
        above[dose.minute] += dose.units
    block = identify.Block(
        life.sensor, spread([(meal.minute, meal.grams) for meal in life.meals], days * 1440), above, life.weight
    )
    if kind == "hovorka":
        chance = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
        body = virtual._Body(chance, kind)
        return block, np.array([np.log(body.p[[hovorka.SIT, hovorka.SID, hovorka.SIE]]).mean()])
    people, (typical, basal) = cohort.load(), cohort.typical()
    k = people.names.index(life.name)
    over = np.log(people.parameters[k] / typical)
    truth = [
        over[[s2008.VMX, s2008.KP3]].mean(),
        np.log(people.basal[k] / basal),
        over[[s2008.KABS, s2008.KMAX, s2008.KMIN]].mean(),
        over[[s2008.KA1, s2008.KA2, s2008.KD]].mean(),
    ]
    return block, np.array(truth)


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def felt(fall: float, weight: float, basal: float) -> float:
    """The SI logarithm with which our typical S2008 body of this weight and basal glucose falls by `fall`.

    `fall`: mean fall of glucose over six hours after one unit, from rest, mg/dL. A body of another kind has no
    S2008 sensitivity; what a unit does in it is the nearest to one.
    """
    low, high = -4.0, 4.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _fall_s2008(weight, basal, middle) < fall else (low, middle)
    return 0.5 * (low + high)


def _fall_s2008(weight: float, basal: float, sensitivity: float) -> float:
    base, usual = identify.population(weight)
    v, above, out = np.zeros(identify.SIZE), np.zeros(FELT_MIN), np.empty(FELT_MIN // 5)
    v[0], above[0] = sensitivity, 1.0
    Gb = min(basal, 0.97 * base[s2008.KE2] / base[s2008.VG])
    v[1] = np.log(Gb / usual)
    identify.expect(base, usual, v, np.zeros(FELT_MIN), above, out)
    return float((Gb - out).mean())


def fall_hovorka(p: np.ndarray, basal: float) -> float:
    """Mean fall over six hours after one unit, from rest, mg/dL."""
    x, rate = hovorka.rest(p, basal)
    units, out = np.full(FELT_MIN, rate), np.empty(FELT_MIN)
    units[0] += 1.0
    hovorka.simulate(p, x, np.zeros(FELT_MIN), units, np.ones(FELT_MIN), out)
    return float(np.mean(basal - out))


def other_body(seed: int, number: int, days: int = 7) -> dict[str, float]:
    """What S2008 identifies of a Hovorka person, and the truth two ways.

    `absolute`: what a unit does, as an S2008 logarithm (`felt`); `relative`: the same over the typical
    Hovorka person at the same glucose, which is what a factor over the population says of them.
    """
    block, _ = lived(seed, number, days, "hovorka")
    body = virtual._Body(np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64))), "hovorka")
    usual = hovorka.TYPICAL.copy()
    usual[hovorka.BW] = body.weight
    absolute = felt(fall_hovorka(body.p, body.basal), body.weight, body.basal)
    typical = felt(fall_hovorka(usual, body.basal), body.weight, body.basal)
    one = identify.identify(block)
    return {"theta": float(one.theta[0]), "sd": float(one.sd[0]), "own": float(one.own[0][0]),
            "own_sd": float(one.own[1][0]), "low": float(np.log(one.interval("SI")[1])),
            "high": float(np.log(one.interval("SI")[2])), "absolute": absolute,
            "relative": absolute - typical}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="S2008 on Hovorka people: docs/evidence/recovery.md")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--people", type=int, default=40)
    arguments = parser.parse_args()
    rows = [kept(seed, number) | {"seed": seed} for seed in (LEARNED, JUDGED) for number in range(arguments.people)]
    text = report(rows)
    print(text)
    if arguments.write:
        with (EVIDENCE / "recovery.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: f"{value:.4g}" for name, value in row.items()} for row in rows)
        page = EVIDENCE / "recovery.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def kept(seed: int, number: int) -> dict[str, float]:
    """`other_body`, from the cache where it is."""
    told = hashlib.sha256(b"".join(Path(f"twinward/{name}.py").read_bytes() for name in USED)).hexdigest()[:16]
    path = Path(f".cache/recovery/{seed}-{number}-{told}.json")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(other_body(seed, number)))
    found: dict[str, float] = json.loads(path.read_text())
    return found


def report(rows: list[dict[str, float]]) -> str:
    """The table; green is a share within chance of .9."""
    lines = ["| what | ours | limit | type | |", "|---|---|---|---|---|"]
    for seed, said in ((LEARNED, "the people the width was learned on"), (JUDGED, "other people")):
        mine = [row for row in rows if row["seed"] == seed]
        slack = 1.96 * float(np.sqrt(0.09 / len(mine)))
        for truth, low, high, what in (
            ("relative", "low", "high", "stated interval contains SI over the typical person"),
            ("relative", "own_low", "own_high", "the same, were people S2008 (`own`)"),
            ("absolute", "low", "high", "stated interval contains what a unit does, in S2008 units"),
        ):
            inside = [row[low] <= row[truth] <= row[high] for row in map(_with_own, mine)]
            share = float(np.mean(inside))
            # Wider than it says is no broken promise; narrower is.
            colour = "green" if share >= 0.9 - slack else "**red**"
            lines.append(f"| {what}; {len(mine)} Hovorka people, seed {seed}: {said} | {share:.3f} | "
                         f"0.9 - {slack:.3f} | "
                         f"{'self' if seed == JUDGED else 'fitted-to'} | {colour} |")  # fmt: skip
        theta, relative, absolute = (
            np.array([row[name] for row in mine]) for name in ("theta", "relative", "absolute")
        )
        lines.append(f"| error of the most probable SI, mean and root mean square, over the typical; seed {seed} | "
                     f"{np.mean(theta - relative):+.2f}, {np.sqrt(np.mean((theta - relative) ** 2)):.2f} | - | "
                     "recorded | |")  # fmt: skip
        lines.append(f"| rank correlation with the truth; seed {seed} | "
                     f"{np.corrcoef(ranks(theta), ranks(relative))[0, 1]:.2f} | - | recorded | |")  # fmt: skip
        lines.append(f"| what a unit does in them over the typical S2008 person, as a factor, median; seed {seed} | "
                     f"{np.exp(np.median(absolute)):.1f} | - | recorded | |")  # fmt: skip
    width = float(np.median([np.exp((row["high"] - row["low"]) / 2) for row in rows]))
    return "\n".join(
        [*lines, "", f"A stated interval reaches from the middle over to the middle times {width:.1f}, median."]
    )


def _with_own(row: dict[str, float]) -> dict[str, float]:
    half = 1.6449 * row["own_sd"]
    return row | {"own_low": row["own"] - half, "own_high": row["own"] + half}


if __name__ == "__main__":
    main()
