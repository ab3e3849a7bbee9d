"""The SuperLink's acts on their way into the ledger: never in the way of a call, and what is lost is counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from services.federation.flower import acts
from services.federation.flower.acts import Acts
from services.federation.flower.adapter import Act
from twinward.errors import Denied, Unavailable


class Ledger:
    def __init__(self) -> None:
        self.leaves: list[tuple[str, dict[str, object]]] = []
        self.away = 0
        self.refuses = False

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        if self.refuses:
            raise Denied("no")
        if self.away:
            self.away -= 1
            raise Unavailable("auth is away")
        self.leaves.append((kind, dict(body)))
        return len(self.leaves)


def worked_off(told: Acts) -> None:
    stop = threading.Event()
    stop.set()
    told.run(stop)


def test_an_act_becomes_a_leaf_without_floats_or_large_numbers() -> None:
    ledger = Ledger()
    told = Acts(ledger.record)
    told.tell(Act("start-run", 0, 2**63 + 1, done=True))
    told.tell(Act("register-node", 7, 0, done=False))
    worked_off(told)
    assert ledger.leaves == [
        ("config_change", {"act": "superlink.start-run", "outcome": "done", "run": str(2**63 + 1)}),
        ("config_change", {"act": "superlink.register-node", "outcome": "failed", "node": "7"}),
    ]


def test_while_auth_is_away_telling_does_not_wait_and_the_lost_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "MOST_WAITING", 3)
    monkeypatch.setattr(acts, "AGAIN_S", 0.0)
    ledger = Ledger()
    ledger.away = 2
    told = Acts(ledger.record)
    for run in range(1, 6):
        told.tell(Act("stop-run", 0, run, done=True))
    stop = threading.Event()
    thread = threading.Thread(target=told.run, args=(stop,))
    thread.start()
    while len(ledger.leaves) < 4:
        stop.wait(0.01)
    stop.set()
    thread.join()
    assert [body.get("run") for _, body in ledger.leaves] == ["1", None, "2", "3"]
    assert ledger.leaves[1][1] == {"act": "superlink.acts_lost", "count": 2}


def test_a_refused_leaf_holds_no_other_up() -> None:
    ledger = Ledger()
    ledger.refuses = True
    told = Acts(ledger.record)
    told.tell(Act("stop-run", 0, 1, done=True))
    worked_off(told)
    assert ledger.leaves == []
