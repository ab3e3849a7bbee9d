"""The glucose body beside simglucose (MIT licence), where that is installed.

Both simulate one person for a day at one-minute input steps, no sensor, no controller, the same
meals and basal rate, in this process. Ours is S2008 by RK4; theirs is the UVA/Padova 2008
equations by scipy's dopri5.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable

MEALS = (420, 720, 1080)  # minutes of the day
GRAMS_MIN, MINUTES = 5.0, 12
PERSON = "adolescent#001"
BASAL_IU_MIN = 0.0125


def installed() -> bool:
    return importlib.util.find_spec("simglucose") is not None


def compare(ours_s_per_day: float) -> float | None:
    """How many of our days pass in one of theirs; None where simglucose is not installed."""
    if not installed():
        return None
    return _seconds(_their_day()) / ours_s_per_day


def _their_day() -> Callable[[], None]:
    module = importlib.import_module("simglucose.patient.t1dpatient")
    fed = {minute + k for minute in MEALS for k in range(MINUTES)}

    def day() -> None:
        patient = module.T1DPatient.withName(PERSON)
        for minute in range(1440):
            patient.step(module.Action(CHO=GRAMS_MIN if minute in fed else 0.0, insulin=BASAL_IU_MIN))

    return day


def _seconds(act: Callable[[], None]) -> float:
    act()
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin
