"""A hospital's federation program in parts, for tests: a coordinator that really signs, a ledger that can be away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infra.embedded.certificates import Certificates
from services.federation.decisions import Decisions
from services.federation.membership import Membership, MembershipFile
from services.federation.policy import PolicyFile
from services.federation.site_joining import Certified, Joining, JoinWish
from services.federation.site_link import Heard, Link, Told
from services.federation.site_studies import SiteStudies
from services.federation.study import Cohort, Column, Study, canonical
from services.federation.token import Invitation, write_token
from twinward.clock import SetClock, SystemChance, SystemClock
from twinward.errors import TwinwardError, Unavailable
from twinward.link.enrolment import SiteAuthority
from twinward.wire.codec.cohort import Decided, DecidedStudy, StudyWish

SITE, COORDINATOR = "st-anne.demo", "university.demo"
BUNDLE = bytes(range(32))
HOUR_MS = 3_600_000
CODE = "loinc|8480-6"


def study(**changed: Any) -> Study:
    made: dict[str, Any] = {
        "title": "Pressure",
        "question": "How high is it?",
        "author": "r-1",
        "purpose": "research",
        "recipe": "logistic",
        "sites": (SITE, "north.demo"),
        "rounds": 30,
        "cohort": Cohort(),
        "columns": (Column("pressure", CODE),),
        "outcome": Column("coronary", "condition|snomed|53741008", take="present"),
    }
    return Study(**made | changed)


@dataclass
class Tokens:
    """What a coordinator's directory holds: its root, and the intermediate that signs hospitals."""

    folder: Path

    def __post_init__(self) -> None:
        clock, chance = SystemClock(), SystemChance()
        Certificates(self.folder, COORDINATOR, clock, chance).ensure(("coordinator",), ())
        self.root = (self.folder / "pki/root.pem").read_bytes()
        key = load_pem_private_key((self.folder / "secrets/programs.key").read_bytes(), None)
        chain = (self.folder / "pki/programs.pem").read_bytes()
        self.authority = SiteAuthority(chain, key, COORDINATOR, 24.0, clock, chance)  # type: ignore[arg-type]

    def token(self, **changed: Any) -> str:
        made: dict[str, Any] = {
            "coordinator": COORDINATOR, "site": SITE, "door": "127.0.0.1:1", "join": "127.0.0.1:2",
            "fleet": "127.0.0.1:3", "authority": self.root, "secret": bytes(32),
        }  # fmt: skip
        return write_token(Invitation(**made | changed))


@dataclass
class Far:
    """The coordinator's doors. `away` is what every call meets, until it is None again."""

    tokens: Tokens
    away: TwinwardError | None = None
    joins: list[JoinWish] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    renewals: int = 0
    heard: Heard = field(default_factory=lambda: Heard((), {}, ()))
    renew_away: TwinwardError | None = None
    chain: bytes | None = None  # answered instead of a right one

    def join(self, invitation: Invitation, proxy: str, wish: JoinWish) -> Certified:
        self._there()
        self.joins.append(wish)
        return self._certified(wish.signing_request, bundle_key=bytes(32))

    def renew(self, member: Membership, signing_request: bytes) -> Certified:
        self._there()
        if self.renew_away is not None:
            raise self.renew_away
        self.renewals += 1
        return self._certified(signing_request)

    def sync(self, member: Membership, told: Told) -> Heard:
        self._there()
        self.told.append(told)
        return self.heard

    def leave(self, member: Membership, reason: str) -> None:
        self._there()
        self.left.append(reason)

    def _certified(self, request: bytes, bundle_key: bytes = b"") -> Certified:
        chain, until_ms, _ = self.tokens.authority.issue(request, SITE)
        return Certified(self.chain or chain, until_ms, "127.0.0.1:3" if bundle_key else "", bundle_key)

    def _there(self) -> None:
        if self.away is not None:
            raise self.away


@dataclass
class Ledger:
    """What would be leaves."""

    away: bool = False
    leaves: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        if self.away:
            raise Unavailable("auth does not answer")
        self.leaves.append((kind, body))
        return len(self.leaves)

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.leaves]


@dataclass
class Desk:
    """auth's books of decisions."""

    away: bool = False
    rows: dict[bytes, DecidedStudy] = field(default_factory=dict)
    calls: int = 0

    def decide(self, token: str, wish: StudyWish) -> Decided:
        if self.away:
            raise Unavailable("auth does not answer")
        leaf = 100 + len(self.rows)
        self.put(wish.study, wish.decision, reason=wish.reason, bundle=wish.bundle, leaf=leaf)
        return Decided(leaf, 10**15)

    def decisions(self, studies: Sequence[bytes] = ()) -> list[DecidedStudy]:
        self.calls += 1
        if self.away:
            raise Unavailable("auth does not answer")
        return [self.rows[one] for one in studies if one in self.rows]

    def put(self, sha256: bytes, decision: str = "approve", **more: Any) -> None:
        made: dict[str, Any] = {
            "reason": "", "decided_ms": 1, "expires_ms": 10**15, "leaf": len(self.rows) + 1, "bundle": BUNDLE,
        }  # fmt: skip
        self.rows[sha256] = DecidedStudy(study=sha256, decision=decision, **made | more)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@dataclass
class Ward:
    """Everything but auth, store and the line itself; `again` is a restart on the same files."""

    folder: Path
    far: Far
    ledger: Ledger = field(default_factory=Ledger)
    desk: Desk = field(default_factory=Desk)
    clock: SetClock = field(default_factory=lambda: SetClock(SystemClock().now_ms()))
    up: bool = True
    profile: str = "demo"
    ended: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = MembershipFile(self.folder)
        self.studies = SiteStudies(self.folder / "studies")
        self.policy = PolicyFile(self.folder / "policy.toml", self.profile)
        self.decisions = Decisions(self.desk, self.studies, self.policy, lambda: BUNDLE, self.clock)
        self.joining = Joining(
            SITE, self.profile, self.file, self.far, self.ledger, self.clock, lambda: None, self.studies.forget
        )
        self.link = Link(
            SITE, self.file, self.joining, self.far, self.studies, self.decisions, lambda: self.up,
            self.ended.extend, self.clock, SystemChance(), 1.0,
        )  # fmt: skip

    def again(self) -> Ward:
        return Ward(self.folder, self.far, self.ledger, self.desk, self.clock, self.up, self.profile)

    def joined(self) -> Ward:
        self.joining.join(self.far.tokens.token(), "", "admin")
        return self

    def offer(self, made: Study, number: int = 1, bundle: bytes = BUNDLE) -> bytes:
        text = canonical(made)
        sha256 = hashlib.sha256(text).digest()
        self.studies.hear(number, sha256, text, bundle)
        return sha256


def at_call(target: Any, name: str, then: Callable[[], None], *, before: bool) -> None:
    """Lets `then` happen just before, or just after, the next call of a method."""
    real = getattr(target, name)

    def once(*given: Any, **named: Any) -> Any:
        setattr(target, name, real)
        if before:
            then()
        answer = real(*given, **named)
        if not before:
            then()
        return answer

    setattr(target, name, once)


def killed() -> None:
    raise Killed


def certificate_key(member: Membership) -> object:
    return x509.load_pem_x509_certificate(member.certificate.encode()).public_key()
