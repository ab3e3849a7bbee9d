"""Water, sodium and potassium outside and inside cells.

    water      E = W e / (e + Ni), e = 2 Na + glucose outside (mmol), Ni what cells hold: equal tonicity on both sides
    sodium     [Na] = Na / E                        so glucose that rises pulls water out and lowers it
    potassium  into cells = E ([K] - kept) / tau    kept = K0 (Ki / Ki0)^3.5 acid tonic / (insulin adrenaline)
               insulin = 1 + a (i / (i50 + i) - 1 / (i50 + 1)),  i: insulin over basal
               lost = usual ([K] / K0)^2 + [K] / K0 (urine - usual)+ 0.025 mmol/mL

Equal tonicity within a minute; cells keep their solutes. Potassium's two pools are ours [G]: shape by the rules that
200 to 400 mmol missing is 1 mmol/L, that insulin and adrenaline drive it into cells, acid and tonicity out of them.
Its total changes by intake and urine alone. Values: metabolism_meaning.py. Functions take floats or pint quantities.
"""

from __future__ import annotations

from twinward.physiology.compiled import Scalar

MG_DL_PER_MMOL_L = 18.016


def outside_cells(water: Scalar, Na: Scalar, glucose: Scalar, cells: Scalar) -> Scalar:
    """Volume outside cells; `Na`, `glucose` and `cells` amounts."""
    e = 2 * Na + glucose
    return water * e / (e + cells)


def insulin_pull(i: Scalar, most: Scalar, half: Scalar) -> Scalar:
    """1 at basal insulin (`i` = 1)."""
    return 1 + most * (i / (half + i) - 1 / (half + 1))


def kept(K0: Scalar, filled: Scalar, n: Scalar, acid: Scalar, tonic: Scalar, pull: Scalar, adrenal: Scalar) -> Scalar:
    """Potassium at which nothing crosses; `filled` what cells hold over usual, the others factors."""
    return K0 * filled**n * acid * tonic / (pull * adrenal)


def into_cells(K: Scalar, at_rest: Scalar, volume: Scalar, tau: Scalar) -> Scalar:
    """Amount per time, negative when it leaves them."""
    return volume * (K - at_rest) / tau


def excreted(level: Scalar, usual: Scalar, n: Scalar, more: Scalar, dragged: Scalar) -> Scalar:
    """Amount per time; `level` over usual, `more` urine above the usual, `dragged` amount per its volume."""
    return usual * level**n + level * dragged * max(more, 0 * more)
