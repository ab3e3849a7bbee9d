"""What a virtual patient is made of, how it begins, and how it is kept: no behaviour of its own (patient.py)."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed, Tampered
from twinward.physiology import circulation as c
from twinward.physiology.body import Body
from twinward.physiology.brain import Brain
from twinward.physiology.circulation_interventions import FULL, Kind
from twinward.physiology.circulation_meaning import shipped
from twinward.physiology.circulation_run import Circulation
from twinward.physiology.drugs import Covariates
from twinward.physiology.meaning import check
from twinward.physiology.metabolism import Metabolism
from twinward.physiology.patient_breath import Lungs
from twinward.physiology.patient_drugs import Drugs
from twinward.physiology.patient_fluids import Fluids
from twinward.physiology.patient_giving import Running
from twinward.physiology.patient_tables import NUMERICS, USUAL, VALUES
from twinward.physiology.sepsis import Sepsis
from twinward.physiology.strain import Strain

Array = NDArray[np.float64]
KINDS = {"adult": "healthy", "t1d": "t1d", "dka": "dka"}  # and the metabolism of each
# Values of start that are the metabolism's own (metabolism_meaning.PARAMETERS).
METABOLIC = (
    "glucose",
    "sensitivity",
    "stress",
    "GFR0",
    "creatinine0",
    "K0",
    "Na0",
    "alert",
    "K_urine",
    "K_cells",
    "ketones_most",
)
INDEX = {symbol: k for k, symbol in enumerate(c.PARAMETERS)}


@dataclass(slots=True)
class Memory:
    """What the monitor and slow controllers carry from exchange to exchange."""

    adrenal: float = 0.0  # adrenaline of shock, 0..1
    Pn: float = 0.0  # slow shift of the set point, mmHg
    CVP: float = 4.0
    Psp: float = 90.0  # running mean, for the pleth
    end_tidal: float = 36.0
    highest: float = 120.0  # of the exchange before the last
    lowest: float = 80.0
    usual_rate: float = 70.0


@dataclass(slots=True)
class Parts:
    MODEL: ClassVar[str] = "patient-2"
    kind: str
    values: dict[str, float]  # VALUES
    body: Body
    rest: Array  # (75,): parameters of this person, before drugs and sepsis
    metabolism: Metabolism
    drugs: Drugs
    sepsis: Sepsis = field(default_factory=Sepsis)
    lungs: Lungs = field(default_factory=Lungs)
    brain: Brain = field(default_factory=Brain)
    strain: Strain = field(default_factory=Strain)
    fluids: Fluids = field(default_factory=Fluids)
    running: Running = field(default_factory=Running)
    memory: Memory = field(default_factory=Memory)
    last: Array = field(default_factory=lambda: np.zeros(len(NUMERICS)))
    lab: dict[str, float] = field(default_factory=dict)  # glucose, K, Na, ketones, temperature, sympathetic
    targets: dict[str, float] = field(default_factory=dict)  # factors of drugs now

    @classmethod
    def born(cls, kind: str, values: Mapping[str, float]) -> Self:
        """Raises BadInput: an unknown kind or value, or one that no adult has."""
        if kind not in KINDS:
            raise BadInput(f"a patient is one of {', '.join(KINDS)}")
        if unknown := set(values) - set(VALUES) - set(METABOLIC):
            raise BadInput(f"a patient has no {', '.join(sorted(unknown))}")
        v = USUAL | {name: float(value) for name, value in values.items() if name in VALUES}
        check(v, VALUES)
        own = {name: float(values[name]) for name in METABOLIC if name in values}
        if kind != "dka":
            # Retained volume is this person's usual one: the kidney of heart failure does not pass it by itself.
            own |= {"usual_blood": v["blood_ml"] + max(v["extra_ml"], 0.0), "HCO30": v["HCO3"]}
        metabolism = Metabolism.start(KINDS[kind], v["weight_kg"], **own)
        blood = v["blood_ml"] + v["extra_ml"] - metabolism.plasma_missing_ml
        body = Body.start(
            Circulation.start(ill(shipped(), v), blood), weight=v["weight_kg"], Hb=v["Hb"], HCO3=v["HCO3"]
        )
        return cls(kind, v, body, body.base.copy(), metabolism, Drugs(who(v)))

    def dump(self) -> bytes:
        """Everything the future depends on."""
        text = {
            "model": self.MODEL, "kind": self.kind, "values": self.values, "drugs": self.drugs.kept(),
            "sepsis": self.sepsis.kept(), "lungs": asdict(self.lungs), "fluids": asdict(self.fluids),
            "running": self.running.kept(), "memory": asdict(self.memory), "lab": self.lab, "targets": self.targets,
            "brain": asdict(self.brain), "strain": asdict(self.strain),
        }  # fmt: skip
        held = io.BytesIO()
        np.savez(
            held,
            text=np.frombuffer(json.dumps(text).encode(), np.uint8),
            body=np.frombuffer(self.body.dump(), np.uint8),
            rest=self.rest,
            last=self.last,
            metabolism=np.frombuffer(self.metabolism.dump(), np.uint8),
        )
        return held.getvalue()

    @classmethod
    def load(cls, kept: bytes) -> Self:
        """Raises Malformed: not a snapshot of this model."""
        try:
            with np.load(io.BytesIO(kept), allow_pickle=False) as held:
                found = {name: np.array(held[name]) for name in held.files}
            text = json.loads(found["text"].tobytes())
            if text["model"] != cls.MODEL:
                raise Malformed("this is a snapshot of another model")
            rest, last, v = found["rest"], found["last"], text["values"]
            if rest.shape != (len(c.PARAMETERS),) or last.shape != (len(NUMERICS),) or not np.isfinite(rest).all():
                raise Malformed("this snapshot holds what no patient has")
            check(v, VALUES)
            return cls(
                text["kind"], v, Body.load(found["body"].tobytes()), rest,
                Metabolism.load(found["metabolism"].tobytes()), Drugs.restored(who(v), text["drugs"]),
                Sepsis.restored(text["sepsis"]), Lungs(**text["lungs"]), Brain(**text["brain"]),
                Strain(**text["strain"]), Fluids(**text["fluids"]), Running.restored(text["running"]),
                Memory(**text["memory"]), last, text["lab"], text["targets"],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, OSError, EOFError, BadInput, Tampered) as error:
            if isinstance(error, Malformed):
                raise
            raise Malformed("this is no snapshot of a patient", detail=str(error)) from error


def ill(p: Array, v: Mapping[str, float]) -> Array:
    """Parameters of a person with lasting disease."""
    for name, kind in (("hypertension", Kind.HYPERTENSION), ("heart_failure", Kind.HEART_FAILURE)):
        for symbol, full in FULL[kind].items():
            p[INDEX[symbol]] *= 1.0 + (full - 1.0) * v[name]
    return p


def who(v: Mapping[str, float]) -> Covariates:
    return Covariates(weight=v["weight_kg"], age=v["age"], height=v["height_cm"], female=v["female"] > 0.5)
