"""`course.Sites` over any Flower grid: the deployed one within a ServerApp, or `local_grid`.

Flower's own `send_and_receive` waits in steps of three seconds and for everybody; here asking and looking for
answers are apart, and rounds decide how long to wait and for whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from services.federation.course import Answer, Ask
from services.federation.flower.frames import decode_answer, encode_ask, refusal
from twinward import telemetry
from twinward.clock import Clock, SystemClock
from twinward.errors import BadInput, Malformed

KIND = "query"  # the message type that ClientApps answer
ASK, ANSWER, FRAME = "ask", "answer", "frame"
TTL_S = 24 * 3600.0  # longer than any round: rounds end by their own deadline
LOOK_S = 0.15  # at least between two looks for answers: each is a call to the SuperLink and reads of its state
INVALID_FAB = 7  # Flower's error code of a SuperNode that refuses the bundle

FAILED = telemetry.event("site_failed", "code")


class GridSites:
    """The hospitals of one run. Not for two threads at once."""

    def __init__(self, grid: Grid, clock: Clock | None = None) -> None:
        self._grid = grid
        self._clock = clock or SystemClock()
        self._looked: float | None = None  # when answers were looked for last, since the last ask
        self._waiting: dict[str, tuple[str, int]] = {}  # message id -> site and round

    def online(self) -> Sequence[str]:
        return sorted(self._nodes())

    def send(self, asks: Mapping[str, Ask]) -> None:
        """Asks; what was asked in another round, or of the same site before, is not waited for any more."""
        nodes = self._nodes()
        self._looked = None
        rounds = {ask.round for ask in asks.values()}
        self._waiting = {
            name: (site, number)
            for name, (site, number) in self._waiting.items()
            if number in rounds and site not in asks
        }
        there = [(site, ask) for site, ask in asks.items() if site in nodes]
        messages = [_message(ask, nodes[site]) for site, ask in there]
        if messages:
            for name, (site, ask) in zip(self._grid.push_messages(messages), there, strict=False):
                if name:  # else the SuperLink did not take it: never answered
                    self._waiting[name] = (site, ask.round)

    def receive(self) -> Mapping[str, Answer]:
        now = self._clock.monotonic()
        if not self._waiting or (self._looked is not None and now - self._looked < LOOK_S):
            return {}
        self._looked = now
        found: dict[str, Answer] = {}
        for reply in self._grid.pull_messages(list(self._waiting)):
            site, _ = self._waiting.pop(reply.metadata.reply_to_message_id, ("", 0))
            if site:
                found[site] = answer_in(reply)
        return found

    def _nodes(self) -> dict[str, int]:
        return {node.name: node.node_id for node in self._grid.get_nodes() if node.name}


def answer_in(reply: Message) -> Answer:
    """What a hospital's reply says; an error of Flower's, or what cannot be read, is a refusal."""
    if reply.has_error():
        telemetry.warn(FAILED, code=reply.error.code)  # its text may hold anything and is not looked at
        return refusal("WRONG_BUNDLE" if reply.error.code == INVALID_FAB else "INTERNAL")
    try:
        return decode_answer(frame_of(reply, ANSWER))
    except BadInput:
        return refusal("INTERNAL")


def frame_of(message: Message, name: str) -> bytes:
    """Raises Malformed: the message holds no such frame."""
    record = message.content.config_records.get(name) if message.has_content() else None
    frame = record.get(FRAME) if record is not None else None
    if not isinstance(frame, bytes):
        raise Malformed("a message holds no frame of ours")
    return frame


def holding(name: str, frame: bytes) -> RecordDict:
    """One record with one value: Flower carries each record as an object of its own, at a call or two apiece."""
    return RecordDict({name: ConfigRecord({FRAME: frame})})


def _message(ask: Ask, node: int) -> Message:
    return Message(
        holding(ASK, encode_ask(ask)), dst_node_id=node, message_type=KIND, ttl=TTL_S, group_id=str(ask.round)
    )
