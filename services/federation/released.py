"""What leaves a study when it is done: model, card, report."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from services.federation import report
from services.federation import study_books as books
from services.federation.books import Connection, ms_of
from services.federation.course import Json
from services.federation.study import from_canonical
from services.federation.study_books import Kept

Released = tuple[bytes, bytes, bytes]  # model and card: JSON; report: HTML


def released(connection: Connection, kept: Kept, result: Json, note: str, now: datetime) -> Released:
    """Reads the books inside the caller's transaction, so that what is told is what is kept."""
    model = as_json(result)
    study = from_canonical(kept.canonical)
    rounds = [
        {
            "round": one.number, "step": one.step, "asked": one.asked, "answered": one.answered,
            "refused": one.refused, "seconds": one.seconds, "metrics": one.metrics,
        }
        for one in books.rounds(connection, kept.number)
    ]  # fmt: skip
    said = books.answers(connection, [kept], now)[kept.number]
    answers = [{"site": one.site, "decision": one.decision, "leaf": one.leaf} for one in said if one.leaf]
    hashes = {
        "study": kept.hash.hex(), "bundle": kept.bundle.hex(), "model": hashlib.sha256(model).hexdigest(),
    }  # fmt: skip
    card = report.card(study, result, rounds, answers, hashes)
    card |= {"note": note, "submitted_ms": ms_of(kept.submitted), "done_ms": ms_of(now), "attempts": kept.attempt}
    return model, as_json(card), report.html(card, result, rounds)


def as_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
