"""Cedar decides: role x purpose x relationship x consent, from versioned files.

The files of `policies/` are parsed and checked against the schema once, at
start. Records that look the same to a policy form one `Slice`, so a grant over
ten categories and three years is two or three questions, not hundreds. Whatever
is not an explicit allow is a denial, errors included.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cedarpy

from services.auth.consent import Answer
from twinward.errors import Unready
from twinward.record import SENSITIVE, TWIN_INPUTS, Category, Purpose

RESERVED = frozenset({Category.RAW, Category.INTAKE, Category.COHORT_INDEX})
MODEL = frozenset({*TWIN_INPUTS, Category.MODEL_STATE})
PROFILES = ("demo", "research-teaching", "clinical")
_MOST_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a person with roles through a program, or a program for itself."""

    name: str
    roles: tuple[str, ...]  # empty for a program
    program: str
    is_person: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """What a policy sees of some records of one patient."""

    consent: Answer
    sensitive: bool
    reserved: bool
    cohort_index: bool
    model_input: bool
    care_team: bool
    erased: bool

    @staticmethod
    def of(category: Category, consent: Answer, *, care_team: bool, erased: bool) -> Slice:
        return Slice(
            consent=consent,
            sensitive=category in SENSITIVE,
            reserved=category in RESERVED,
            cohort_index=category is Category.COHORT_INDEX,
            model_input=category in MODEL,
            care_team=care_team,
            erased=erased,
        )


@dataclass(frozen=True, slots=True)
class Ruling:
    allowed: bool
    policies: tuple[str, ...]  # ids of the policies that decided; empty where nothing permits


class Policies:
    """The policy set of one profile. Thread-safe: nothing changes after the start."""

    def __init__(self, profile: str) -> None:
        if profile not in PROFILES:
            raise Unready(f"no policies for profile {profile!r}; known are {', '.join(PROFILES)}")
        folder = importlib.resources.files("services.auth") / "policies"
        schema = (folder / "schema.cedarschema").read_text()
        text = (folder / "house.cedar").read_text() + "\n" + (folder / f"{profile}.cedar").read_text()
        checked = cedarpy.validate_policies(text, schema)
        if not checked.validation_passed:
            raise Unready("the policies do not fit their schema; restore services/auth/policies")
        self._schema = cedarpy.Schema.from_str(schema)
        self._policies = cedarpy.PolicySet.from_str(text)
        self._known: OrderedDict[tuple[Asker, str, Purpose, Slice], Ruling] = OrderedDict()
        self._lock = threading.Lock()
        self.sha256 = hashlib.sha256(schema.encode() + b"\0" + text.encode()).hexdigest()

    def rule(self, asker: Asker, act: str, purpose: Purpose, slices: Iterable[Slice]) -> dict[Slice, Ruling]:
        """One ruling for each distinct slice. `act` is read, list, upkeep, study or compact."""
        wanted = list(dict.fromkeys(slices))
        # A ruling depends on nothing but these four, so asking once is enough.
        with self._lock:
            found = {one: self._known.get((asker, act, purpose, one)) for one in wanted}
        missing = [one for one, ruling in found.items() if ruling is None]
        fresh = dict(zip(missing, self._ask(asker, act, purpose, missing), strict=True)) if missing else {}
        with self._lock:
            self._known.update({(asker, act, purpose, one): ruling for one, ruling in fresh.items()})
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return {one: fresh[one] if ruling is None else ruling for one, ruling in found.items()}

    def _ask(self, asker: Asker, act: str, purpose: Purpose, wanted: Sequence[Slice]) -> list[Ruling]:
        kind = "Person" if asker.is_person else "Program"
        principal = {"type": f"Site::{kind}", "id": asker.name}
        requests = [
            {
                "principal": principal,
                "action": {"type": "Site::Action", "id": act},
                "resource": {"type": "Site::Slice", "id": str(place)},
                "context": {"purpose": purpose.value, "program": asker.program},
            }
            for place in range(len(wanted))
        ]
        entities = _people(principal, asker.roles) + [_slice(place, one) for place, one in enumerate(wanted)]
        answers = cedarpy.is_authorized_batch(requests, self._policies, entities, schema=self._schema)
        return [_ruling(answer) for answer in answers]


def _people(principal: dict[str, str], roles: Sequence[str]) -> list[dict[str, object]]:
    parents = [{"type": "Site::Role", "id": role} for role in roles]
    if principal["type"] == "Site::Program":
        parents = []
    found: list[dict[str, object]] = [{"uid": principal, "attrs": {}, "parents": parents}]
    return found + [{"uid": parent, "attrs": {}, "parents": []} for parent in parents]


def _slice(place: int, one: Slice) -> dict[str, object]:
    return {
        "uid": {"type": "Site::Slice", "id": str(place)},
        "attrs": {
            "consent": one.consent.value,
            "sensitive": one.sensitive,
            "reserved": one.reserved,
            "cohortIndex": one.cohort_index,
            "modelInput": one.model_input,
            "careTeam": one.care_team,
            "erased": one.erased,
        },
        "parents": [],
    }


def _ruling(answer: cedarpy.AuthzResult) -> Ruling:
    # NoDecision, or a policy that failed to evaluate, is a denial like any other.
    allowed = answer.decision == cedarpy.Decision.Allow and not answer.diagnostics.errors
    named = answer.diagnostics.id_annotations_by_reason
    return Ruling(allowed, tuple(sorted(str(name) for name in named.values() if name)))
