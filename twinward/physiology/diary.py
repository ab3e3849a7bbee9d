"""A virtual life as the house's own rows, the way a real one would arrive."""

from __future__ import annotations

from twinward.physiology.virtual import Life
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS, Measurement


def rows_of(life: Life, first_ms: int) -> list[Measurement]:
    """Sensor, pump and meals in order of time; the basal rate is told every six hours, as pumps do."""

    def row(code: str, minute: float, value: float, unit: str) -> Measurement:
        ms = first_ms + round(minute * 60_000)
        return Measurement(code, ms, ms, float(value), unit, b"", source="virtual")

    rows = [row(CGM_GLUCOSE, 5 * (k + 1), round(float(g)), "mg/dL") for k, g in enumerate(life.sensor)]
    rows += [row(INSULIN_BOLUS, dose.minute, dose.units, "[IU]") for dose in life.boluses]
    rows += [row(CARBOHYDRATES, meal.minute, meal.grams, "g") for meal in life.meals]
    rows += [
        row(INSULIN_BASAL_RATE, minute, life.basal_rate, "[IU]/h") for minute in range(0, 5 * len(life.sensor), 360)
    ]
    return sorted(rows, key=lambda one: (one.effective_ms, one.code))
