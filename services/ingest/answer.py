"""What a sender is told, and what is stored to be told again for the same key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from twinward.errors import Malformed

STORED, DUPLICATE, CORRECTED = "stored", "duplicate", "corrected"
INTAKE, QUARANTINED, DROPPED, REJECTED = "intake", "quarantined", "dropped", "rejected"
RESULTS = (STORED, CORRECTED, DUPLICATE, INTAKE, QUARANTINED, DROPPED, REJECTED)
MOST_PROBLEMS = 100


class Outcome(msgspec.Struct, frozen=True):
    """What became of one entry, or of a group of rows."""

    index: int
    resource: str
    result: str
    reason: str = ""
    detail: str = ""
    weight: int = 1  # entries or rows it stands for


class Reason(msgspec.Struct, frozen=True):
    """All entries of a type that share a result and a reason."""

    resource: str
    result: str
    reason: str
    detail: str
    count: int


class Answer(msgspec.Struct, frozen=True):
    receipt: bytes  # 16 bytes
    counts: dict[str, int]  # result -> entries
    types: dict[str, dict[str, int]]  # resource type -> result -> entries
    reasons: list[Reason]
    problems: list[Outcome]
    observations: int  # values written
    flagged: int  # of them with a quality mark
    replayed: bool = False


def summed(receipt: bytes, outcomes: Sequence[Outcome], observations: int, flagged: int) -> Answer:
    """The answer to a message; problems are what was neither stored nor seen before."""
    counts: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    reasons: Counter[tuple[str, str, str, str]] = Counter()
    for outcome in outcomes:
        counts[outcome.result] += outcome.weight
        types.setdefault(outcome.resource, Counter())[outcome.result] += outcome.weight
        if outcome.reason:
            reasons[(outcome.resource, outcome.result, outcome.reason, outcome.detail)] += outcome.weight
    problems = [outcome for outcome in outcomes if outcome.result not in (STORED, DUPLICATE)]
    # Patientless entries are harmless and many: they must not hide what needs somebody.
    problems.sort(key=lambda outcome: (outcome.result == REJECTED, outcome.index))
    return Answer(
        receipt=receipt,
        counts=dict(counts),
        types={kind: dict(found) for kind, found in types.items()},
        reasons=[Reason(*key, count) for key, count in reasons.items()],
        problems=problems[:MOST_PROBLEMS],
        observations=observations,
        flagged=flagged,
    )


_DECODER = msgspec.msgpack.Decoder(Answer)


def encode(answer: Answer) -> bytes:
    return msgspec.msgpack.encode(answer)


def decode_replayed(data: bytes) -> Answer:
    """The stored answer, marked as told before."""
    try:
        return msgspec.structs.replace(_DECODER.decode(data), replayed=True)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("a stored answer cannot be read; send the message with a new idempotency key") from None
