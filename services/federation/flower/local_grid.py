"""A Flower grid within one process: the same asks, bytes and ClientApp code, without SuperLink and SuperNodes.

For evidence and tests. Every message goes through Flower's real serialisation in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid

from services.federation import course
from services.federation.flower import adapter_node, client_app
from services.federation.flower.frames import decode_ask
from services.federation.flower.grid import GridSites

AnswerOf = Callable[[course.Ask], course.Answer]
RUN = 1
COORDINATOR, FIRST_NODE = 1, 2  # ids of nodes
CRASHED = 8  # Flower's error code of a ClientApp that died


@dataclass(frozen=True, slots=True)
class LocalNode:
    node_id: int
    name: str


def local_sites(answers: Mapping[str, AnswerOf]) -> course.Sites:
    """Hospitals whose answers are computed when they are asked, one after the other."""
    return GridSites(LocalGrid(answers))


class LocalGrid(Grid):
    """Sites in `down` are offline; those in `dying` take an ask and then die, as Flower reports it."""

    def __init__(self, answers: Mapping[str, AnswerOf]) -> None:
        self._nodes = {FIRST_NODE + place: name for place, name in enumerate(sorted(answers))}
        self._answers = dict(answers)
        adapter_node.be_task(RUN, COORDINATOR)
        self._replies: dict[str, Message] = {}
        self.down: set[str] = set()
        self.dying: set[str] = set()

    def get_nodes(self) -> Iterable[LocalNode]:  # type: ignore[override] # Flower's message, of which this is a part
        return [LocalNode(node, name) for node, name in self._nodes.items() if name not in self.down]

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.get_nodes()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names = []
        for message in messages:
            there = adapter_node.through_the_wire(message)
            names.append(there.metadata.message_id)
            self._replies[there.metadata.message_id] = self._reply(there)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(name) for name in list(message_ids) if name in self._replies]

    def _reply(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        name = self._nodes[node]
        before = client_app.Here.hospital
        client_app.Here.hospital = lambda frame: self._answers[name](decode_ask(frame))
        adapter_node.be_task(RUN, node)
        try:
            if name in self.dying:
                return Message(Error(CRASHED, "died"), reply_to=message)
            reply = client_app.app(message, Context(RUN, node, {}, RecordDict(), {}))
            return adapter_node.through_the_wire(reply)
        finally:
            client_app.Here.hospital = before
            adapter_node.be_task(RUN, COORDINATOR)

    def set_run(self, run: object) -> None:
        """A deployed grid hears which run it is of; this one is of its own."""

    @property
    def run(self) -> Any:  # noqa: ANN401 - there is none
        return None

    def create_message(self, *args: object, **named: object) -> Message:
        raise NotImplementedError("messages are made by their constructor")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))
