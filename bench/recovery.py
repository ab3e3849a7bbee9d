"""Truths for `twinward.learning.identify`: people whose body is known, and what their sensor and diary say.

`matched`   S2008 with only the four logarithms drawn from the prior; miscounted carbohydrates, Vettoretti's sensor
`member`    a person of the cohort, whose other 28 parameters differ too; some meals and doses unlogged, better and
            worse days, a daily rhythm (twinward/physiology/virtual.py)
`hovorka`   the same with the other model: no S2008 sensitivity exists, only an order
"""

from __future__ import annotations

import numpy as np

from twinward.learning import identify
from twinward.physiology import cgm, cohort, hovorka, virtual
from twinward.physiology import glucose as s2008


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
