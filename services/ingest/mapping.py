"""What somebody declares about the columns of a file (ingest.proto SeriesMapping)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinward.errors import BadInput
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BASAL_DOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS
from twinward.units import conversion

KINDS = {
    "glucose": CGM_GLUCOSE,
    "bolus": INSULIN_BOLUS,
    "basal-rate": INSULIN_BASAL_RATE,
    "basal-dose": INSULIN_BASAL_DOSE,
    "carbohydrates": CARBOHYDRATES,
}
MOST_COLUMNS = 20
EPOCHS = {"epoch-ms": 1, "epoch-s": 1000}  # time formats that are no strptime pattern


@dataclass(frozen=True, slots=True)
class Column:
    column: str
    kind: str  # glucose | bolus | basal-rate | basal-dose | carbohydrates
    unit: str
    duration_column: str = ""  # minutes

    @property
    def code(self) -> str:
        return KINDS[self.kind]


@dataclass(frozen=True, slots=True)
class Mapping:
    time_column: str
    columns: Sequence[Column]
    time_format: str = ""  # strptime, epoch-s or epoch-ms; empty: ISO 8601
    time_zone: str = ""  # IANA name; empty: UTC, flagged
    patient_column: str = ""
    patient_system: str = ""
    device: str = ""

    def check(self) -> None:
        """Raises BadInput, saying what to declare, where the mapping cannot work."""
        if not self.time_column:
            raise BadInput("the mapping names no time column")
        if not 0 < len(self.columns) <= MOST_COLUMNS:
            raise BadInput(f"the mapping needs 1 to {MOST_COLUMNS} value columns")
        for column in self.columns:
            if column.kind not in KINDS:
                raise BadInput(f"unknown kind of column; known are {', '.join(KINDS)}")
            if conversion(column.code, column.unit) is None:
                raise BadInput(f"a {column.kind} column needs a unit such as {EXAMPLES[column.kind]}")
        if self.patient_column and not self.patient_system:
            raise BadInput("a patient column needs the system of its numbers (patient_system)")


EXAMPLES = {
    "glucose": "mg/dL or mmol/L",
    "bolus": "[IU]",
    "basal-rate": "[IU]/h",
    "basal-dose": "[IU]",
    "carbohydrates": "g",
}
