"""A hospital's side of a round: everything that must hold before a number leaves, in order.

1. the ask can be read: finite numbers, and no more rounds than the study has
2. this hospital is a member, the study is one it was offered, its bytes hash to what is asked
3. approved here now (auth is asked, its answer used for seconds)
4. the code is ours, and what was approved
5. this hospital's policy allows it
6. the same ask as the last one gets the same answer
7. the table is in memory, or is built; its cohort is the one that the study began with, and large enough
8. `EnterRound`: the ledger knows of the round, and nobody of the cohort has withdrawn
9. the recipe computes; its numbers are finite

Whatever goes wrong leaves as one word of `course.REFUSALS`; this program's own log says of which type it was and
where, never with its text. One ask at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from services.federation.cohort import Cohort
from services.federation.course import REFUSALS, Answer, Ask, Recipe
from services.federation.decisions import EXPIRED, Decisions
from services.federation.held import Held, Tables
from services.federation.policy import Policy, PolicyFile
from services.federation.query import Unanswerable, root_of
from services.federation.site_studies import ENDED, Offered, SiteStudies
from services.federation.study import Study
from twinward import telemetry
from twinward.clock import Chance, Clock
from twinward.errors import BadInput, Busy, Denied, LeaseEnded, TwinwardError, Unavailable
from twinward.record import Handle
from twinward.wire.codec.cohort import APPROVE, RoundEntry

UNANSWERABLE_S = 30.0  # so long a question that the data could not answer is not tried again: each try is entries
MOST_UNANSWERABLE = 100

ANSWERED = telemetry.event("ask_answered", "round", "refusal", "ms")
STRANGE = telemetry.event("ask_unexpected", "id", "error", "places")
telemetry.register(*REFUSALS, "none")


class Refused(Exception):
    """A word of REFUSALS."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class Builds(Protocol):
    def build(self, sha256: bytes, study: Study) -> Cohort: ...


class Enters(Protocol):
    def enter_round(self, study: bytes, round: int, step: str, handles: Sequence[Handle]) -> RoundEntry: ...


@dataclass
class Work:
    """`answer` is what `relay.serve_work` calls."""

    site: str
    studies: SiteStudies
    decisions: Decisions
    policy: PolicyFile
    bundle: Callable[[], bytes]  # SHA-256 of the code installed here
    member: Callable[[], bool]
    cohorts: Builds
    rounds: Enters
    tables: Tables
    recipe_of: Callable[[Study], Recipe]
    clock: Clock
    chance: Chance
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _unanswerable: dict[bytes, float] = field(default_factory=dict)

    def answer(self, bundle: bytes, ask: Ask) -> Answer:
        """Never raises."""
        with self._lock:
            began = self.clock.monotonic()
            try:
                answer = self._answer(bundle, ask)
            except Exception as error:
                answer = _refusal(self._word(error))
            took = round((self.clock.monotonic() - began) * 1000)
            telemetry.note(ANSWERED, round=ask.round, refusal=answer.refusal or "none", ms=took)
            return answer

    def ended(self, studies: Sequence[bytes]) -> None:
        """They do not run any more: the tables go at once, what the cohorts were with the study."""
        self.tables.drop(studies)
        self.tables.forget(one for one in studies if self.studies.state(one) in ENDED)

    def _word(self, error: Exception) -> str:
        if isinstance(error, Refused):
            return error.word
        if isinstance(error, Unanswerable):
            return "DATA"
        self._tell(error)
        for kinds, word in (
            ((Unavailable, Busy, LeaseEnded), "UNAVAILABLE"),
            ((Denied,), "NOT_APPROVED"),
            ((BadInput,), "BAD_ASK"),
        ):
            if isinstance(error, kinds):
                return word
        return "INTERNAL"

    def _tell(self, error: Exception) -> None:
        telemetry.LOG.unexpected(error, int.from_bytes(self.chance.bytes(5), "big"), STRANGE)

    def _answer(self, bundle: bytes, ask: Ask) -> Answer:
        if not np.isfinite(ask.vector).all():
            raise Refused("BAD_ASK")
        digest = _digest(ask)
        offered = self._offered(ask.study)
        if ask.round > offered.study.rounds:
            raise Refused("BAD_ASK")  # more rounds than were approved
        self._approved(offered, bundle)
        policy = self._allowed(offered.study)
        held = self.tables.of(offered.sha256)
        if held is not None and held.asked == digest and held.answered is not None:
            return held.answered
        held = self._entered(offered, ask, policy)
        answer = _checked(self.recipe_of(offered.study).answer(offered.study, ask, held.cohort.table))
        held.asked, held.answered = digest, answer
        return answer

    def _offered(self, sha256: bytes) -> Offered:
        offered = self.studies.known(sha256) if self.member() else None
        if offered is None:
            raise Refused("NOT_APPROVED")
        if hashlib.sha256(offered.canonical).digest() != sha256:
            raise Refused("WRONG_STUDY")
        return offered

    def _approved(self, offered: Offered, bundle: bytes) -> None:
        decided = self.decisions.of(offered.sha256)
        word = self.decisions.word(decided)
        if word == EXPIRED:
            raise Refused("EXPIRED")
        if decided is None or word != APPROVE:
            raise Refused("NOT_APPROVED")
        if not bundle == decided.bundle == self.bundle():
            raise Refused("WRONG_BUNDLE")

    def _allowed(self, study: Study) -> Policy:
        try:
            policy = self.policy.now()
        except TwinwardError as error:  # a policy that cannot be read allows nothing
            self._tell(error)
            raise Refused("POLICY") from None
        if policy.objections(study) or (study.sites and self.site not in study.sites):
            raise Refused("POLICY")
        return policy

    def _entered(self, offered: Offered, ask: Ask, policy: Policy) -> Held:
        """The table, with the round in the ledger."""
        held, first = self._held(offered, ask)
        if len(held.cohort.handles) < policy.smallest_cohort(offered.study):
            raise Refused("COHORT")
        entry = self.rounds.enter_round(offered.sha256, ask.round, ask.step, held.cohort.handles)
        if not entry.withdrawn:
            return held
        self.tables.drop([offered.sha256])
        if first:  # in the moment between: nothing was answered yet, so the study begins without them
            held, _ = self._held(offered, ask)
            if len(held.cohort.handles) < policy.smallest_cohort(offered.study):
                raise Refused("COHORT")
            if not self.rounds.enter_round(offered.sha256, ask.round, ask.step, held.cohort.handles).withdrawn:
                return held
            self.tables.drop([offered.sha256])
        self._changed(offered.sha256, ask.round)
        raise Refused("COHORT_CHANGED")

    def _held(self, offered: Offered, ask: Ask) -> tuple[Held, bool]:
        """The study's table, and whether it was built for its first round here."""
        sha256 = offered.sha256
        held = self.tables.of(sha256)
        if held is not None:
            return held, False
        frozen = self.tables.frozen(sha256)
        begins = frozen is None or ask.round <= frozen.round
        if frozen is not None and frozen.changed and not begins:
            raise Refused("COHORT_CHANGED")
        cohort = self._build(offered)
        if not self.member():
            raise Refused("NOT_APPROVED")  # left meanwhile: nothing is held any more
        root = root_of(cohort.handles)
        if begins:
            self.tables.freeze(sha256, root, ask.round)
        elif frozen is not None and root != frozen.root:
            self._changed(sha256, ask.round)
            raise Refused("COHORT_CHANGED")
        return self.tables.hold(sha256, cohort), begins

    def _changed(self, sha256: bytes, round: int) -> None:
        frozen = self.tables.frozen(sha256)
        root, first = (frozen.root, frozen.round) if frozen is not None else (b"", round)
        self.tables.freeze(sha256, root, first, changed=True)

    def _build(self, offered: Offered) -> Cohort:
        now = self.clock.monotonic()
        self._unanswerable = {key: at for key, at in self._unanswerable.items() if 0 <= now - at < UNANSWERABLE_S}
        if offered.sha256 in self._unanswerable:
            raise Refused("DATA")
        try:
            return self.cohorts.build(offered.sha256, offered.study)
        except Unanswerable:
            if len(self._unanswerable) < MOST_UNANSWERABLE:
                self._unanswerable[offered.sha256] = now
            raise


def _refusal(word: str) -> Answer:
    return Answer(np.empty(0, dtype=np.float64), {}, word)


def _checked(answer: Answer) -> Answer:
    """What a recipe answered; numbers that are none do not leave."""
    if answer.refusal:
        return _refusal(answer.refusal if answer.refusal in REFUSALS else "INTERNAL")
    if not np.isfinite(answer.vector).all() or not all(math.isfinite(value) for value in answer.numbers.values()):
        raise Refused("DATA")
    return answer


def _digest(ask: Ask) -> bytes:
    """Raises BadInput where the configuration is nothing that could have come over the wire."""
    try:
        said = json.dumps([ask.round, ask.step, dict(ask.config)], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        raise BadInput("an ask's configuration is numbers, words and short lists") from None
    vector = np.ascontiguousarray(ask.vector, dtype=np.float64)
    return hashlib.sha256(len(said).to_bytes(8, "big") + said.encode() + vector.tobytes()).digest()
