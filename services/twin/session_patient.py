"""The virtual patient as the body of a session. Its machine code is loaded with the first body, not before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.twin.session_body import Vocabulary

if TYPE_CHECKING:
    from twinward.physiology.patient import Patient
    from twinward.physiology.patient_giving import Given


class Patients:
    """A BodyMaker."""

    def start(self, kind: str, values: Mapping[str, float]) -> Patient:
        """Raises BadInput: no such kind or value."""
        from twinward.physiology.patient import Patient

        return Patient.start(kind, values)

    def resume(self, values: Mapping[str, float], snapshot: bytes) -> Patient:
        """Raises Malformed: not the snapshot of a virtual person."""
        from twinward.physiology.virtual_patient import resumed

        return resumed(values, snapshot)

    def load(self, kept: bytes) -> Patient:
        """Raises Malformed: not a snapshot of this model."""
        from twinward.physiology.patient import Patient

        return Patient.load(kept)

    def gift(self, what: str, amount: float, unit: str, over_s: float) -> Given:
        from twinward.physiology.patient_giving import Given

        return Given(what, amount, unit, over_s)

    def vocabulary(self) -> Vocabulary:
        from twinward.physiology.patient_giving import givable
        from twinward.physiology.patient_tables import LABORATORY, NUMERICS

        units = {name: tuple(way.unit for way in ways) for name, ways in givable().items()}
        numerics = {name: shown.unit for name, shown in NUMERICS.items()}
        return Vocabulary(numerics, {name: one.unit for name, one in LABORATORY.items()}, units)
