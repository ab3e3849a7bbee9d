"""A virtual person's moment becomes a whole patient: the glucose model's state goes on in the patient's metabolism.

Their own parameters and state (stomach, skin, plasma, insulin's remote effect) are taken as they are; glucose in plasma
alone is scaled by the few per cent by which sugar draws water out of cells, so that the patient's first glucose
is the snapshot's. Circulation, breathing and salts are those of somebody healthy of their age and weight: the glucose
model knows nothing of them. For education and research; not a medical device.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twinward.errors import BadInput, Malformed, Tampered
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.glucose_state import State
from twinward.physiology.meaning import S2008_PARAMETERS, check
from twinward.physiology.metabolism_meaning import STATES
from twinward.physiology.patient import Patient
from twinward.physiology.virtual import Moment

KIND = "t1d"
CLOSE = 1e-9  # mg/dL


def values(moment: Moment) -> Mapping[str, float]:
    """What `Patient.start` is told of them."""
    one = moment.person
    return {
        "weight_kg": round(one.weight, 2), "age": one.age, "height_cm": one.height_cm, "female": float(one.female),
        "glucose": round(one.basal, 2), "sensitivity": 1.0,
    }  # fmt: skip


def resumed(who: Mapping[str, float], snapshot: bytes) -> Patient:
    """The patient at the moment of `snapshot` (a dumped `State`).

    Raises:
        Malformed: no snapshot, or not of this model.
        BadInput: a value that nobody has.
    """
    try:
        kept = State.load(snapshot, options.MODEL)
    except (Tampered, BadInput) as error:
        raise Malformed("this is no snapshot of a virtual person", detail=error.public) from error
    if kept.p.shape != (len(s2008.PARAMETERS) + 1,) or kept.x.shape != (options.WIDE,):
        raise Malformed("this is no snapshot of a virtual person")
    if not np.isfinite(kept.x).all() or (kept.x[: options.BODY] < 0.0)[s2008.GP]:
        raise Malformed("this snapshot holds what nobody has")
    check(dict(zip(S2008_PARAMETERS, kept.p[:-1], strict=True)), S2008_PARAMETERS)
    wanted = float(kept.x[s2008.GP] / kept.p[s2008.VG])
    patient = Patient.start(KIND, who)
    one = patient.metabolism
    p = kept.p.copy()
    p[s2008.KE1] = 0.0  # the patient's kidney has its own loss (metabolism_glucose.py)
    p[s2008.BW] = one.values["weight"]
    one.body = State(options.MODEL, one.body.minute, p, kept.x.copy(), kept.memory.copy())
    one.slow["insulin"] = float(min(max(one.insulin / p[s2008.IB], STATES["insulin"].low), STATES["insulin"].high))
    for _ in range(100):
        off = wanted / one.glucose
        if abs(one.glucose - wanted) < CLOSE:
            break
        one.body.x[s2008.GP] *= off
    patient.lab["glucose"] = one.glucose
    return patient
