"""What every number of the circulation means: unit, source, believable range.

The values that ship stand in `circulation.csv` beside this file, each with the published
value and how it was reached. Tags: [S] read in the source, [X] obtained by running the
equations (a joint fit to resting values and the 1-L bleed), [M] quoted from memory, [G]
an estimate of ours. Ranges are wide enough for disease and for small and large bodies.
"""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.meaning import Meaning

URSINO = "Ursino 1998 (Am J Physiol 275:H1733), numbers as CP-Model has them"
ATRIA = "Korakianitis and Shi 2006 (J Biomech 39:1964)"
HELDT = "Heldt 2004 (MIT thesis, Tables 3.2-3.3)"
HAHN = "two-volume kinetics: Hahn 2010 (Anesthesiology 113:470)"
OURS = "ours"

CAPACITY, RESISTANCE, INERTANCE, ELASTANCE = "mL/mmHg", "mmHg*s/mL", "mmHg*s**2/mL", "mmHg/mL"

# The order is the order of the parameter vector in circulation.py.
_PARAMETERS: tuple[tuple[str, str, str, float, float, str], ...] = (
    ("Csa", "compliance of the large arteries", CAPACITY, 0.03, 1.5, f"{URSINO} [S], fitted [X]"),
    ("Csp", "compliance of splanchnic arteries", CAPACITY, 0.2, 8.0, f"{URSINO} [S]"),
    ("Cep", "compliance of other systemic arteries", CAPACITY, 0.2, 7.0, f"{URSINO} [S]"),
    ("Csv", "compliance of splanchnic veins", CAPACITY, 15.0, 260.0, f"{URSINO} [S], fitted [X]"),
    ("Cev", "compliance of other systemic veins", CAPACITY, 12.0, 220.0, f"{URSINO} [S], fitted [X]"),
    ("Cpa", "compliance of pulmonary arteries", CAPACITY, 0.1, 3.0, f"{URSINO} [S]"),
    ("Cpp", "compliance of pulmonary capillaries", CAPACITY, 1.0, 20.0, f"{URSINO} [S]"),
    ("Cpv", "compliance of pulmonary veins", CAPACITY, 5.0, 80.0, f"{URSINO} [S]"),
    ("Rsa", "resistance of the large arteries", RESISTANCE, 0.01, 0.3, f"{URSINO} [S]"),
    ("Rsv", "resistance of splanchnic veins", RESISTANCE, 0.008, 0.2, f"{URSINO} [S]"),
    ("Rev", "resistance of other systemic veins", RESISTANCE, 0.004, 0.1, f"{URSINO} [S]"),
    ("Rpa", "resistance of pulmonary arteries", RESISTANCE, 0.004, 0.2, f"{URSINO} [S]"),
    ("Rpp", "resistance of pulmonary capillaries", RESISTANCE, 0.01, 1.5, f"{URSINO} [S], fitted [X]"),
    ("Rpv", "resistance of pulmonary veins", RESISTANCE, 0.001, 0.05, f"{URSINO} [S]"),
    ("Lsa", "inertance of the large arteries", INERTANCE, 5e-5, 1e-3, f"{URSINO} [S]"),
    ("Lpa", "inertance of pulmonary arteries", INERTANCE, 4e-5, 1e-3, f"{URSINO} [S]"),
    ("Vusp", "unstressed volume of splanchnic arteries", "mL", 60.0, 800.0, f"{URSINO} [S]"),
    ("Vuep", "unstressed volume of other arteries", "mL", 80.0, 1000.0, f"{URSINO} [S]"),
    ("Vupp", "unstressed volume of pulmonary capillaries", "mL", 25.0, 500.0, f"{URSINO} [S]"),
    ("Vupv", "unstressed volume of pulmonary veins", "mL", 25.0, 400.0, f"{URSINO} [S]"),
    ("Elad", "left atrial elastance, relaxed", ELASTANCE, 0.03, 1.0, f"{ATRIA} [M]"),
    ("Elas", "left atrial elastance, contracted", ELASTANCE, 0.05, 2.0, f"{ATRIA} [M]"),
    ("Vula", "unstressed volume of the left atrium", "mL", 0.5, 40.0, f"{ATRIA} [M]"),
    ("Rmi", "resistance of the mitral valve", RESISTANCE, 5e-4, 0.1, f"{URSINO} [M]"),
    ("Erad", "right atrial elastance, relaxed", ELASTANCE, 0.03, 1.0, f"{ATRIA} [M]"),
    ("Eras", "right atrial elastance, contracted", ELASTANCE, 0.05, 2.0, f"{ATRIA} [M]"),
    ("Vura", "unstressed volume of the right atrium", "mL", 0.5, 40.0, f"{ATRIA} [M]"),
    ("Rtr", "resistance of the tricuspid valve", RESISTANCE, 5e-4, 0.1, f"{URSINO} [M]"),
    ("P0lv", "diastolic pressure scale, left ventricle", "mmHg", 0.3, 8.0, f"{URSINO} [M]"),
    ("kElv", "diastolic stiffness, left ventricle", "1/mL", 0.004, 0.08, f"{URSINO} [M], fitted [X]"),
    ("Vulv", "unstressed volume of the left ventricle", "mL", 3.0, 80.0, f"{URSINO} [M]"),
    ("kRlv", "internal resistance per pressure, left ventricle", "s/mL", 5e-5, 2e-2, f"{URSINO} [M]"),
    ("P0rv", "diastolic pressure scale, right ventricle", "mmHg", 0.3, 8.0, f"{URSINO} [M]"),
    ("kErv", "diastolic stiffness, right ventricle", "1/mL", 0.003, 0.06, f"{URSINO} [M], fitted [X]"),
    ("Vurv", "unstressed volume of the right ventricle", "mL", 8.0, 150.0, f"{URSINO} [M]"),
    ("kRrv", "internal resistance per pressure, right ventricle", "s/mL", 2e-4, 2e-2, f"{URSINO} [M]"),
    ("ksys", "shortening of systole with heart rate", "s**2", 0.0, 0.15, f"{URSINO} [M]"),
    ("Tsys0", "duration of systole, extrapolated", "s", 0.3, 0.7, f"{URSINO} [M]"),
    ("Pn", "set point of the baroreflex", "mmHg", 40.0, 220.0, f"{URSINO} [S], fitted [X]"),
    ("ka", "slope of the carotid sinus", "mmHg", 4.0, 40.0, f"{URSINO} [S]"),
    ("fmin", "least firing of the sinus nerve", "1/s", 0.5, 10.0, f"{URSINO} [S]"),
    ("fmax", "greatest firing of the sinus nerve", "1/s", 20.0, 100.0, f"{URSINO} [S]"),
    ("tauz", "rate sensitivity of the baroreceptors", "s", 0.0, 15.0, f"{URSINO} [S]"),
    ("taup", "time constant of the baroreceptors", "s", 0.3, 10.0, f"{URSINO} [S]"),
    ("fesinf", "sympathetic firing, fully inhibited", "1/s", 0.5, 5.0, f"{URSINO} [S]"),
    ("fes0", "sympathetic firing, not inhibited", "1/s", 6.0, 40.0, f"{URSINO} [S]"),
    ("kes", "inhibition of sympathetic firing", "s", 0.01, 0.3, f"{URSINO} [S]"),
    ("fesmin", "sympathetic firing without effect", "1/s", 1.0, 6.0, f"{URSINO} [S]"),
    ("fev0", "vagal firing, least", "1/s", 1.0, 8.0, f"{URSINO} [S]"),
    ("fevinf", "vagal firing, greatest", "1/s", 3.0, 15.0, f"{URSINO} [S]"),
    ("fcs0", "sinus firing at the middle of vagal firing", "1/s", 10.0, 50.0, f"{URSINO} [S]"),
    ("kev", "slope of vagal firing", "1/s", 2.0, 20.0, f"{URSINO} [S]"),
    ("GEl", "sympathetic gain, left ventricular elastance", ELASTANCE, 0.0, 2.0, f"{URSINO} [S]"),
    ("GEr", "sympathetic gain, right ventricular elastance", ELASTANCE, 0.0, 1.5, f"{URSINO} [S]"),
    ("GRsp", "sympathetic gain, splanchnic resistance", RESISTANCE, 0.0, 3.0, f"{URSINO} [S], fitted [X]"),
    ("GRep", "sympathetic gain, other resistance", RESISTANCE, 0.0, 2.5, f"{URSINO} [S], fitted [X]"),
    ("GVsv", "sympathetic gain, splanchnic venous volume", "mL", -900.0, 0.0, f"{URSINO} [S], fitted [X]"),
    ("GVev", "sympathetic gain, other venous volume", "mL", -450.0, 0.0, f"{URSINO} [S], fitted [X]"),
    ("GTs", "sympathetic gain, heart period", "s", -0.4, 0.0, f"{URSINO} [S]"),
    ("GTv", "vagal gain, heart period", "s**2", 0.0, 0.3, f"{URSINO} [S]"),
    ("El0", "left ventricular elastance without sympathetic drive", ELASTANCE, 0.2, 8.0, f"{URSINO} [S], fitted [X]"),
    ("Er0", "right ventricular elastance without sympathetic drive", ELASTANCE, 0.1, 5.0, f"{URSINO} [S], fitted [X]"),
    ("Rsp0", "splanchnic resistance without sympathetic drive", RESISTANCE, 0.3, 12.0, f"{URSINO} [S], fitted [X]"),
    ("Rep0", "other resistance without sympathetic drive", RESISTANCE, 0.1, 5.0, f"{URSINO} [S], fitted [X]"),
    ("Vsv0", "splanchnic venous unstressed volume, no drive", "mL", 400.0, 4500.0, f"{URSINO} [S], fitted [X]"),
    ("Vev0", "other venous unstressed volume, no drive", "mL", 400.0, 4500.0, f"{URSINO} [S]"),
    ("T0", "heart period without drive", "s", 0.3, 1.4, f"{URSINO} [S], fitted [X]"),
    ("Gcv", "cardiopulmonary gain, venous volume", "mL/mmHg", 0.0, 400.0, f"{HELDT} [S], fitted [X]"),
    ("Gcr", "cardiopulmonary gain, resistance", "s/mL", -0.3, 0.0, f"{HELDT} [S], fitted [X]"),
    ("Pset", "set point of the cardiopulmonary reflex", "mmHg", -2.0, 20.0, f"{HELDT} [S], fitted [X]"),
    ("krf", "rate of transcapillary refill", "1/s", 0.0, 0.01, f"{OURS} [G]"),
    ("frf", "share of a loss that is refilled", "dimensionless", 0.0, 1.0, f"{OURS} [G]"),
    ("k12", "crystalloid, blood to tissue", "1/s", 0.0, 0.01, f"{HAHN} [M]"),
    ("k21", "crystalloid, tissue to blood", "1/s", 0.0, 0.01, f"{HAHN} [M]"),
    ("k10", "crystalloid, blood to urine", "1/s", 0.0, 0.01, f"{HAHN} [M]"),
)  # fmt: skip

CIRCULATION_PARAMETERS = {row[0]: Meaning(*row) for row in _PARAMETERS}

_STATES: tuple[tuple[str, str, str, float, float], ...] = (
    ("beat", "beats since the start; the fraction is the phase", "dimensionless", 0.0, 1e9),
    ("Psa", "pressure of the large arteries", "mmHg", 0.0, 400.0),
    ("Fsa", "flow in the large arteries", "mL/s", -2000.0, 2000.0),
    ("Psp", "pressure of the systemic arterioles", "mmHg", 0.0, 400.0),
    ("Vev", "volume of systemic veins, not splanchnic", "mL", 0.0, 9000.0),
    ("Vsv", "volume of splanchnic veins", "mL", 0.0, 9000.0),
    ("Vla", "volume of the left atrium", "mL", 0.0, 600.0),
    ("Vlv", "volume of the left ventricle", "mL", 0.0, 700.0),
    ("Vra", "volume of the right atrium", "mL", 0.0, 600.0),
    ("Vrv", "volume of the right ventricle", "mL", 0.0, 700.0),
    ("Ppa", "pressure of pulmonary arteries", "mmHg", 0.0, 200.0),
    ("Fpa", "flow in pulmonary arteries", "mL/s", -2000.0, 2000.0),
    ("Ppp", "pressure of pulmonary capillaries", "mmHg", -15.0, 200.0),
    ("Ppv", "pressure of pulmonary veins", "mmHg", -15.0, 200.0),
    ("Pcs", "pressure as the baroreceptors see it, its rate included", "mmHg", -400.0, 1200.0),
    ("s2a", "sympathetic firing, first of three stages of 2 s", "1/s", 0.0, 50.0),
    ("s2b", "sympathetic firing, second stage of 2 s", "1/s", 0.0, 50.0),
    ("s2", "sympathetic firing 2 s late", "1/s", 0.0, 50.0),
    ("s5a", "sympathetic firing, first of three stages of 5 s", "1/s", 0.0, 50.0),
    ("s5b", "sympathetic firing, second stage of 5 s", "1/s", 0.0, 50.0),
    ("s5", "sympathetic firing 5 s late", "1/s", 0.0, 50.0),
    ("dEl", "drive on left ventricular elastance", ELASTANCE, 0.0, 8.0),
    ("dEr", "drive on right ventricular elastance", ELASTANCE, 0.0, 8.0),
    ("dRsp", "drive on splanchnic resistance", RESISTANCE, 0.0, 15.0),
    ("dRep", "drive on other resistance", RESISTANCE, 0.0, 15.0),
    ("dVsv", "drive on splanchnic venous volume", "mL", -4000.0, 0.0),
    ("dVev", "drive on other venous volume", "mL", -4000.0, 0.0),
    ("dTs", "sympathetic drive on heart period", "s", -2.0, 0.0),
    ("dTv", "vagal drive on heart period", "s", 0.0, 3.0),
    ("given", "blood given less blood lost", "mL", -9000.0, 9000.0),
    ("dVcp", "cardiopulmonary drive on venous volume", "mL", -4000.0, 4000.0),
    ("dRcp", "cardiopulmonary drive on resistance", RESISTANCE, -3.0, 3.0),
    ("refilled", "fluid refilled from tissue", "mL", -5000.0, 5000.0),
    ("Vc", "crystalloid in the blood", "mL", 0.0, 9000.0),
    ("Vt", "crystalloid in tissue", "mL", 0.0, 30000.0),
    ("urine", "crystalloid passed as urine", "mL", 0.0, 60000.0),
)

CIRCULATION_STATES = {row[0]: Meaning(*row, OURS if row[0] in ("Vc", "Vt") else URSINO) for row in _STATES}

CIRCULATION_INPUTS = {
    row[0]: Meaning(*row, OURS)
    for row in (
        ("bleed", "blood lost", "mL/s", 0.0, 50.0),
        ("blood", "blood given", "mL/s", 0.0, 50.0),
        ("fluid", "crystalloid given", "mL/s", 0.0, 50.0),
    )
}


def shipped() -> NDArray[np.float64]:
    """The parameter set that ships, in the order of `CIRCULATION_PARAMETERS`: a typical adult of 5.3 L blood."""
    text = resources.files(__package__).joinpath("circulation.csv").read_text()
    values = {row["symbol"]: float(row["value"]) for row in csv.DictReader(text.splitlines())}
    return np.array([values[symbol] for symbol in CIRCULATION_PARAMETERS])
