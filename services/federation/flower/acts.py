"""What happened at the SuperLink, on its way into the coordinator's ledger.

Flower tells within a request, so telling must never wait: acts go into a bounded queue, and a thread of its own has
them recorded. While `auth` is away the thread tries again and again and the queue fills; what finds it full is
dropped and counted, and the count is a leaf as soon as there can be one. So the ledger may lack acts of an outage,
and then says how many.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from services.federation.flower.adapter import Act
from twinward import telemetry
from twinward.errors import TwinwardError, Unavailable

Record = Callable[[str, Mapping[str, object]], object]  # kind of leaf and its body

KIND = "config_change"
MOST_WAITING = 1000
AGAIN_S = 2.0

LOST = telemetry.event("link_acts_lost", "count")
UNRECORDED = telemetry.event("link_act_unrecorded", "why")


class Acts:
    """`tell` from any thread; `run` in one, until `stop`."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._waiting: queue.Queue[Act] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()
        self._lost = 0

    def tell(self, act: Act) -> None:
        try:
            self._waiting.put_nowait(act)
        except queue.Full:
            with self._lock:
                self._lost += 1

    def run(self, stop: threading.Event) -> None:
        """Also after `stop` what waits is recorded, as far as `auth` takes it at the first attempt."""
        while not (stop.is_set() and self._waiting.empty()):
            try:
                act = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            self._enter(_body(act), stop)
            self._own_up(stop)

    def _own_up(self, stop: threading.Event) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            telemetry.warn(LOST, count=lost)
            self._enter({"act": "superlink.acts_lost", "count": lost}, stop)

    def _enter(self, body: Mapping[str, object], stop: threading.Event) -> None:
        while True:
            try:
                self._record(KIND, body)
                return
            except Unavailable as error:
                if stop.wait(AGAIN_S):
                    telemetry.warn(UNRECORDED, why=error)
                    return
            except TwinwardError as error:  # refused: trying again would be refused again
                telemetry.warn(UNRECORDED, why=error)
                return


def _body(act: Act) -> dict[str, object]:
    """Ids are words: they have 64 bits, more than a JSON number holds."""
    ids = {"node": str(act.node_id), "run": str(act.run_id)}
    return {
        "act": f"superlink.{act.call}",
        "outcome": "done" if act.done else "failed",
        **{name: value for name, value in ids.items() if value != "0"},
    }
