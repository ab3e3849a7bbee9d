"""A log line cannot carry what a patient is called."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinward import telemetry
from twinward.clock import SetClock
from twinward.errors import BadInput, ConsentDenied
from twinward.telemetry import LIBRARY, UNEXPECTED, Event, Level, Log

CANARY = "Example, Mary *1950-01-01 MRN 4711"
SAID = Event("said", frozenset({"what", "count", "who"}))


class Colour(Enum):
    RED = CANARY  # the value stays inside: the name is code


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Log:
    return Log(stream, SetClock(5), "auth")


@pytest.mark.parametrize(
    "value",
    [CANARY, CANARY.encode(), [CANARY], (CANARY, [CANARY]), {CANARY: CANARY}, {CANARY}, ValueError(CANARY), Colour.RED,
     Path(CANARY), object()],
)  # fmt: skip
def test_no_string_gets_in(log: Log, stream: io.StringIO, value: object) -> None:
    log.note(SAID, what=value)
    assert "Mary" not in stream.getvalue()
    assert "4711" not in stream.getvalue()
    assert len(lines(stream)) == 1


@given(st.text(min_size=1))
def test_whatever_the_text(text: str) -> None:
    stream = io.StringIO()
    Log(stream, SetClock(5)).note(SAID, what=text)
    assert lines(stream)[0]["what"] == (text if text in telemetry.VOCABULARY.words else "?")


def test_no_field_gets_in_that_is_not_declared(log: Log, stream: io.StringIO) -> None:
    with pytest.raises(BadInput):
        log.note(SAID, **{CANARY: 1})
    assert stream.getvalue() == ""


def test_numbers_words_and_our_errors_get_in(log: Log, stream: io.StringIO) -> None:
    telemetry.VOCABULARY.words.add("feed-of-this-test")
    log.note(SAID, what=ConsentDenied(CANARY, detail=CANARY), count=3, who="feed-of-this-test")
    log.note(SAID, what=Colour.RED, count=1.5, who=None)
    assert lines(stream)[0] == {
        "t": 5, "program": "auth", "level": "info", "event": "said", "what": "CONSENT_DENIED", "count": 3,
        "who": "feed-of-this-test",
    }  # fmt: skip
    assert lines(stream)[1]["what"] == "red"


def test_an_unexpected_error_is_its_type_and_places(log: Log, stream: io.StringIO) -> None:
    try:
        raise RuntimeError(CANARY)
    except RuntimeError as error:
        log.unexpected(error, 42)
    (line,) = lines(stream)
    assert (line["event"], line["id"], line["error"]) == (UNEXPECTED.name, 42, "RuntimeError")
    assert line["places"][0].startswith("tests/unit/test_telemetry.py:")
    assert "Mary" not in stream.getvalue()


def test_levels(stream: io.StringIO) -> None:
    log = Log(stream, SetClock(5), level=Level.WARNING)
    log.note(SAID, count=1)
    log.note(SAID, Level.ERROR, count=2)
    assert [line["count"] for line in lines(stream)] == [2]


def test_an_event_has_one_meaning() -> None:
    vocabulary = telemetry.Vocabulary()
    assert vocabulary.event("x", "a") == vocabulary.event("x", "a")
    with pytest.raises(BadInput):
        vocabulary.event("x", "b")
    vocabulary.closed = True
    with pytest.raises(BadInput):
        vocabulary.register([CANARY])


class Told:
    program = "auth"
    profile = "demo"
    log_level = "info"
    metrics_listen = ""


@pytest.fixture
def started(stream: io.StringIO) -> Iterator[io.StringIO]:
    """`start` takes over the whole process; this puts everything back."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, telemetry.VOCABULARY.closed)
    log = (telemetry.LOG.stream, telemetry.LOG.program, telemetry.LOG.level, telemetry.LOG.clock)
    telemetry.start(Told(), SetClock(5), stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    sys.excepthook, threading.excepthook, telemetry.VOCABULARY.closed = before[2], before[3], before[4]
    telemetry.LOG.stream, telemetry.LOG.program, telemetry.LOG.level, telemetry.LOG.clock = log


def test_libraries_and_uncaught_errors_cannot_either(started: io.StringIO) -> None:
    logging.getLogger("psycopg.pool").warning("error with %s", CANARY)
    logging.getLogger(CANARY).error(CANARY)
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        logging.getLogger("grpc._server").exception(CANARY)
        sys.excepthook(type(error), error, error.__traceback__)
    thread = threading.Thread(target=lambda: int(CANARY))
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, UserWarning, stacklevel=1)
    found = lines(started)
    assert [line.get("logger") for line in found if line["event"] == LIBRARY.name] == ["psycopg", "other", "grpc", "py"]
    assert [line["error"] for line in found if line["event"] == UNEXPECTED.name] == ["ValueError", "ValueError"]
    assert "Mary" not in started.getvalue()


def test_settings_that_cannot_be(stream: io.StringIO) -> None:
    class Loud(Told):
        log_level = "loud"

    with pytest.raises(BadInput, match="log_level"):
        telemetry.start(Loud(), SetClock(5), stream)
