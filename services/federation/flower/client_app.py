"""The ClientApp: hands what it is asked to the hospital's program and returns the answer.

It runs in a fork of the hospital's executor and holds nothing: no key, no table, no connection to the store.
Flower would send the text of an exception to the coordinator, so that none may leave here but as a public word.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from services.federation.course import Answer
from services.federation.flower.frames import decode_ask, encode_answer, refusal
from services.federation.flower.grid import ANSWER, ASK, frame_of, holding
from twinward import telemetry
from twinward.errors import BadInput, Unavailable

Hospital = Callable[[bytes], Answer]  # an ask as it came -> the answer


class Here:
    """Who answers in this process: set before the first task."""

    hospital: Hospital | None = None


app = ClientApp()


@app.query()
def ask(message: Message, context: Context) -> Message:
    return Message(holding(ANSWER, encode_answer(_answer(message))), reply_to=message)


def _answer(message: Message) -> Answer:
    try:
        frame = frame_of(message, ASK)
        decode_ask(frame)  # what cannot be read is refused here, and not sent on
    except BadInput:
        return refusal("BAD_ASK")
    try:
        if Here.hospital is None:
            return refusal("INTERNAL")
        return Here.hospital(frame)
    except Unavailable:
        return refusal("UNAVAILABLE")
    except Exception as error:
        telemetry.LOG.unexpected(error, 0)
        return refusal("INTERNAL")
