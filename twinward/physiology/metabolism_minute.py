"""A minute of metabolism: glucose first, then what is slower, then the flows of the next minute.

Every flow is worked out once and taken from one amount as it is added to the other, so nothing is made or lost.
Explicit steps of a minute: the quickest time constant here is 7 min (glucagon in muscle), and what was fitted was
fitted with this step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twinward.physiology import dalla_man, kidney, temperature
from twinward.physiology import electrolytes as salts
from twinward.physiology import glucose as s2008
from twinward.physiology import ketones as ketosis
from twinward.physiology import metabolism_glucose as sugar
from twinward.physiology.glucose_state import State
from twinward.physiology.ventilation import pH

if TYPE_CHECKING:
    from twinward.physiology.metabolism import Metabolism

MIN_PER_H, MIN_PER_DAY = 60.0, 1440.0
KJ_PER_MIN_W = 0.06


def glucose_minute(one: Metabolism, given: Mapping[str, float]) -> None:
    """Moves glucose and insulin, and what works against lows."""
    v, x, body = one.values, one.slow, one.body
    G, weight = one.glucose, v["weight"]
    healthy = one.kind == "healthy"
    Fsnc = float(body.p[dalla_man.FCNS if healthy else s2008.FSNC])
    extra = v["alert_made"] * x["adrenal"] + sugar.spared(G, v["G_spare"], Fsnc)
    extra += sugar.saturating(x["glucagon"], v["glucagon_made"], v["glucagon_50"])
    extra += (given.get("glucose_iv", 0.0) * s2008.MG_PER_G - one.flow["glucose"]) / weight
    iv = given.get("insulin_iv", 0.0) * s2008.PMOL_PER_UNIT / weight
    p, state, memory = body.p, body.x.copy(), body.memory.copy()
    # Tablets and juice need no grinding: they begin as liquid in the stomach.
    state[dalla_man.QSTO2 if healthy else s2008.QSTO2] += given.get("glucose_oral", 0.0) * s2008.MG_PER_G
    x["plate"] += given.get("meal", 0.0)
    grams = min(x["plate"], s2008.EATING_RATE)
    x["plate"] -= grams
    if healthy:
        sugar.healthy_minute(state, p, memory, grams, extra, iv)
    else:
        units = given.get("insulin_sc", 0.0) + x["basal"] * s2008.basal_rate(p)
        sugar.type_1_minute(state, p, memory, grams, units, extra, iv)
    one.body = State(body.model, body.minute + 1, p, state, memory)
    x["glucose_out"] += one.flow["glucose"] / s2008.MG_PER_G
    x["adrenal"] += (v["alert"] * sugar.wanted(G, v["G_alert"], v["G_alarm"]) - x["adrenal"]) / v["alert_tau"]
    x["awake"] += (sugar.clear(G, v["G_dim"], v["G_out"]) - x["awake"]) / v["awake_tau"]
    absorbed, lost = v["glucagon_in"] * x["glucagon_m"], v["glucagon_out"] * x["glucagon"]
    x["glucagon_m"] += given.get("glucagon", 0.0) - absorbed
    x["glucagon"] += absorbed - lost


def slow_minute(one: Metabolism, given: Mapping[str, float], inputs: list[float]) -> None:
    """Water, salts, acid, drugs and warmth, by the flows of the minute that ends."""
    v, x, f = one.values, one.slow, one.flow
    weight, Ib = v["weight"], float(one.body.p[dalla_man.IB if one.kind == "healthy" else s2008.IB])
    _potassium(one, given, inputs)
    fluid = given.get("crystalloid", 0.0)
    taken = f["drunk"] + fluid + given.get("water", 0.0)
    vomited = given.get("vomit", 0.0)
    lost = f["urine"] + f["insensible"] + vomited
    x["water"] += (taken - lost) / 1000.0
    x["water_in"] += taken / 1000.0
    x["water_out"] += lost / 1000.0
    x["Na_e"] += v["Na_given"] * fluid + given.get("bicarbonate", 0.0) - f["Na"] - v["Na_vomit"] * vomited
    x["crystalloid"] += fluid
    x["plasma"] += f["moved"]
    x["insulin"] += (one.insulin / Ib - x["insulin"]) / v["insulin_lag"]
    _acid(one, given, fluid)
    x["loop"] += (x["furosemide"] - x["loop"]) / v["loop_lag"]
    x["furosemide"] += given.get("furosemide", 0.0) - x["furosemide"] / v["loop_tau"]
    space = (v["ECF"] + v["ICF"]) * weight * 1000.0  # mL
    x["creatinine"] += kidney.creatinine_rate(x["creatinine"], f["GFR"], v["GFR0"], v["creatinine0"], space)
    x["temperature"] += temperature.rate(
        x["temperature"], v["set_point"] + x["shift"], v["warming_tau"], KJ_PER_MIN_W * x["cooling"], v["heat"] * weight
    )


def _potassium(one: Metabolism, given: Mapping[str, float], inputs: list[float]) -> None:
    v, x, f = one.values, one.slow, one.flow
    outside = one.outside
    HCO3 = one.bicarbonate(inputs[3])
    acid = 1.0 + v["K_acid"] * max(7.4 - pH(HCO3, inputs[4]), -0.3)
    tonic = 1.0 + v["K_osmotic"] * (one.tonicity - one.tonicity0)
    pull = salts.insulin_pull(x["insulin"], v["K_insulin"], v["K_insulin_50"])
    filled = x["K_i"] / (v["K_cells"] * v["weight"])
    at_rest = salts.kept(v["K0"], filled, v["K_n"], acid, tonic, pull, 1.0 + v["K_adrenal"] * x["adrenal"])
    into = salts.into_cells(x["K_e"] / outside, at_rest, outside, v["K_tau"])
    taken = f["K_eaten"] + given.get("potassium_chloride", 0.0)
    lost = f["K"] + v["K_vomit"] * given.get("vomit", 0.0)
    x["K_e"] += taken - lost - into
    x["K_i"] += into
    x["K_in"] += taken
    x["K_out"] += lost


def _acid(one: Metabolism, given: Mapping[str, float], fluid: float) -> None:
    v, x, f = one.values, one.slow, one.flow
    weight, n = v["weight"], v["ketones_n"]
    most, renal = v["ketones_most"] / MIN_PER_H, v["ketones_renal"] / MIN_PER_H
    used = ketosis.use_most(most, v["ketones_50"], n, v["ketones_Km"], v["ketones0"], renal)
    lost = renal * f["GFR"] / v["GFR0"]
    dB = ketosis.rate(x["ketones"], x["insulin"], most, v["ketones_50"], n, used, v["ketones_Km"], lost)
    space = v["HCO3_space"] * weight
    diluted = one.bicarbonate(v["lactate0"]) * fluid / 1000.0 / space
    # What is lost at rest is made anew at rest, so it does not count.
    beyond = v["anions"] * max(f["ketones"] - renal * v["ketones0"] * v["ketones_space"] * weight, 0.0) / space
    x["base_lost"] += ketosis.base_rate(
        x["base_lost"], beyond, diluted, given.get("bicarbonate", 0.0) / space, v["HCO3_tau"] * MIN_PER_H
    )
    x["ketones"] += dB


def flows(one: Metabolism, inputs: list[float]) -> dict[str, float]:
    """FLOWS of the minute that begins, from the state and the body's last minute."""
    v, x = one.values, one.slow
    MAP, blood, weight, outside = inputs[0], inputs[2], v["weight"], one.outside
    filling = blood / v["usual_blood"]
    GFR = kidney.filtration(MAP, 1.0 - filling, v["GFR0"], v["MAP_none"], v["MAP_full"], v["GFR_volume"])
    share = GFR / v["GFR0"]
    glucose = kidney.spilt(one.glucose, GFR / 100.0, v["G_spill"], v["G_full"])  # GFR in dL/min
    acids = v["ketones_renal"] / MIN_PER_H * share * x["ketones"] * v["ketones_space"] * weight
    rest = v["ketones_renal"] / MIN_PER_H * v["ketones0"] * v["ketones_space"] * weight
    # Beyond rest, an anion and the cation it takes along.
    solutes = glucose / 180.16 + v["anions"] * 2.0 * max(acids - rest, 0.0)
    usual = v["urine0"] * weight / MIN_PER_H
    plain = kidney.plain(usual, share, MAP / v["usual_MAP"], filling, v["urine_n"], v["urine_volume_n"])
    loop = kidney.driven(x["loop"], share, v["loop_most"], v["loop_50"])
    osmotic = solutes / v["obligatory"]
    urine = min(plain + osmotic + loop, v["urine_most"] * GFR)
    scale = urine / (plain + osmotic + loop) if urine > 0.0 else 0.0
    fever = max(x["temperature"] - v["set_point"], 0.0)
    dry = v["insensible"] * weight / MIN_PER_H
    insensible = dry * (1.0 + v["insensible_fever"] * fever)
    drunk = x["drinking"] * (usual + dry)
    # The usual urine's salt is what is eaten usually; what the kidney keeps or loses beyond that is isotonic.
    Na = scale * (v["Na_urine"] * osmotic + v["Na_loop"] * loop) + v["Na0"] / 1000.0 * (scale * plain - usual)
    Na += v["Na_eaten"] * weight / MIN_PER_DAY * (1.0 - x["eating"]) * share
    K = salts.excreted(x["K_e"] / outside / v["K0"], v["K_intake"] * weight / MIN_PER_DAY * share, v["K_urine_n"],
                       urine - usual, v["K_urine"])  # fmt: skip
    usual_outside = v["ECF"] * weight
    goal = v["plasma_share"] * (1000.0 * (outside - usual_outside) - x["crystalloid"])
    moved = drunk - urine - insensible + (goal - x["plasma"]) / v["refill_tau"]
    return {
        "GFR": GFR, "urine": urine, "moved": moved, "insensible": insensible, "drunk": drunk, "glucose": glucose,
        "ketones": acids, "Na": Na, "K": K, "K_eaten": x["eating"] * v["K_intake"] * weight / MIN_PER_DAY,
    }  # fmt: skip
