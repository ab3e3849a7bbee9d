"""A round of a study: one entry over the whole cohort, and who left it.

1. outside the gate, in parts: whoever has to be decided anew is decided and remembered
2. inside it: prints of all are compared (permits.py), the few that changed meanwhile are
   decided, and the leaf `fed_round` is written: the root over who may take part, the
   number of them and of those who withdrew

No key is released here. After `read` a round costs one statement and one entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from services.auth.cohort import MOST as MOST_AT_ONCE
from services.auth.cohort import Cohorts, wished
from services.auth.desk import Desk
from services.auth.facts import connection_of, facts_of
from services.auth.permits import Permits, prints
from services.auth.sequencer import Proposal
from services.auth.studies import Decided, terms_of
from twinward.errors import BadInput, Busy, TooLarge
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.record import Handle, Purpose

MOST = 100_000  # patients of a cohort
MOST_STEP = 40  # characters


@dataclass(frozen=True, slots=True)
class Entered:
    leaf: int
    root: bytes
    withdrawn: tuple[Handle, ...]  # in order of handles


class Rounds:
    def __init__(self, desk: Desk, cohorts: Cohorts, permits: Permits) -> None:
        self._desk = desk
        self._cohorts = cohorts
        self._permits = permits

    def enter(self, caller: Caller, study: bytes, number: int, step: str, handles: Sequence[Handle]) -> Entered:
        """Writes down a round of the cohort `handles`; who may no longer take part.

        Raises:
            Denied: the study is not approved here.
            TooLarge, BadInput: more than 100,000 patients, or a step that is no word.
            Busy, Unavailable: not recorded.
        """
        if len(handles) > MOST:
            raise TooLarge(f"a cohort has {MOST} patients at most")
        if not 0 < len(step) <= MOST_STEP or not step.replace("-", "").replace("_", "").isalnum():
            raise BadInput(f"a round's step is a word of {MOST_STEP} characters at most")
        cohort = sorted(set(handles))
        self._learn(caller, study, cohort)
        with self._desk.settled() as now_ms:
            approval = self._cohorts.approval(caller, study, now_ms)
            self._cohorts.count(caller, cohort)
            known = self._known(approval, cohort, now_ms)
            changed = [handle for handle, may in known.items() if may is None]
            if len(changed) > MOST_AT_ONCE:
                raise Busy("consents of many patients change just now; try again")
            known.update(self._decided(caller, approval, changed, now_ms))
            permitted = [handle for handle in cohort if known.get(handle)]
            withdrawn = tuple(handle for handle in cohort if not known.get(handle))
            root = hashlib.sha256(b"".join(handle.bytes for handle in permitted)).digest()
            body = {
                **self._desk.who(caller),
                "act": "fed_round",
                "study": study.hex(),
                "approval": approval.leaf,
                "round": number,
                "step": step,
                "patients": len(permitted),
                "withdrawn": len(withdrawn),
                "root": root.hex(),
                "purpose": Purpose.RESEARCH.value,
                "policy": self._desk.policies.sha256,
                "now": now_ms,
            }
            leaf = self._desk.record([Proposal(Kind.FED_ROUND, body, terms=terms_of(study))])[0]
        return Entered(leaf, root, withdrawn)

    def _learn(self, caller: Caller, study: bytes, cohort: Sequence[Handle]) -> None:
        """So that the gate is not held for long: consents can change between the parts."""
        now_ms = self._desk.clock.now_ms()
        approval = self._cohorts.approval(caller, study, now_ms)
        missing = [handle for handle, may in self._known(approval, cohort, now_ms).items() if may is None]
        for first in range(0, len(missing), MOST_AT_ONCE):
            with self._desk.settled() as moment_ms:
                self._decided(caller, approval, missing[first : first + MOST_AT_ONCE], moment_ms)

    def _known(self, approval: Decided, cohort: Sequence[Handle], now_ms: int) -> dict[Handle, bool | None]:
        """Of the patients that are there; None: to be decided."""
        with connection_of(self._desk.pool) as connection:
            found = prints(connection, cohort)
        remembered = self._permits.remembered(approval, found, now_ms)
        return {handle: remembered.get(handle) for handle in found}

    def _decided(
        self, caller: Caller, approval: Decided, handles: Sequence[Handle], now_ms: int
    ) -> dict[Handle, bool | None]:
        """Hold the gate."""
        if not handles:
            return {}
        asked = wished(caller, approval, now_ms)
        with connection_of(self._desk.pool) as connection:
            every = facts_of(connection, handles, None, (), now_ms)
        found: dict[Handle, bool | None] = {}
        for facts in every:
            decision, _ = self._permits.decide(facts, asked, approval)
            found[facts.handle] = decision.allowed and not decision.reason
        return found
