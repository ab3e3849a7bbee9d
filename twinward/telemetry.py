"""Logs and metrics that cannot carry patient data.

A log line is built from an `Event` declared in code, its declared fields, and
values that are numbers, booleans, enum members, our error types or words
registered before the program starts. There is no message string to put a name
into: another string becomes "?" and is counted. An unexpected error is logged
as its type and the places it went through, never with its text. Loggers of
libraries and uncaught errors go the same way.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO

from prometheus_client import Counter, start_http_server

from twinward.clock import Clock, SystemClock
from twinward.errors import BadInput, TwinwardError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LIBRARIES = frozenset(
    {"grpc", "psycopg", "alembic", "sqlalchemy", "numba", "asyncio", "concurrent", "py", "flwr", "uvicorn", "httpx"}
)
HOUSE = Path(__file__).resolve().parent.parent

UNREGISTERED = Counter("twinward_log_strings_refused", "Strings that were not let into a log line.")


class Told(Protocol):
    """What `start` reads of a program's settings."""

    @property
    def program(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def log_level(self) -> str: ...
    @property
    def metrics_listen(self) -> str: ...


class Level(Enum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Event:
    """What may be said: a name and the names of its numbers and words."""

    name: str
    fields: frozenset[str]


@dataclass
class Vocabulary:
    """Events and words known before the program takes its first input; closed after."""

    words: set[str] = field(default_factory=set)
    events: dict[str, Event] = field(default_factory=dict)
    closed: bool = False

    def event(self, name: str, *fields: str) -> Event:
        self._open()
        made = Event(name, frozenset(fields))
        if self.events.setdefault(name, made) != made:
            raise BadInput(f"event {name!r} is declared twice with different fields")
        return made

    def register(self, words: Iterable[str]) -> None:
        self._open()
        self.words.update(words)

    def _open(self) -> None:
        if self.closed:
            raise BadInput("the words of the log are fixed once a program has started: declare them at import")


VOCABULARY = Vocabulary()


def event(name: str, *fields: str) -> Event:
    """Declares an event of the log, at import time.

    Raises:
        BadInput: the program has started, or the name is taken with other fields.
    """
    return VOCABULARY.event(name, *fields)


def register(*words: str) -> None:
    """Words that may stand in log lines: names of programs, feeds of the site. At start only."""
    VOCABULARY.register(words)


UNEXPECTED = event("unexpected", "id", "error", "places")
LIBRARY = event("library", "logger", "level", "error", "places")
STARTED = event("started", "profile", "port")
STOPPED = event("stopped")


class Log:
    """Writes events as JSON lines; `note` says how values are let in."""

    def __init__(self, stream: TextIO, clock: Clock, program: str = "", level: Level = Level.INFO) -> None:
        self.stream = stream
        self.clock = clock
        self.program = program
        self.level = level
        self._lock = threading.Lock()

    def note(self, what: Event, level: Level = Level.INFO, /, **values: object) -> None:
        """One line. A field that `what` does not declare is refused.

        Raises:
            BadInput: an undeclared field: a mistake in the program, so it shows in its tests.
        """
        unknown = values.keys() - what.fields
        if unknown:
            raise BadInput(f"event {what.name!r} has no field of that name")
        self._line(what, level, {name: _let_in(value) for name, value in values.items()})

    def unexpected(self, error: BaseException, number: int, what: Event = UNEXPECTED) -> None:
        """An error nobody foresaw, findable by `number`; its text is not written."""
        self._line(what, Level.ERROR, {"id": number, **_described(error)})

    def _line(self, what: Event, level: Level, values: dict[str, object]) -> None:
        if level.value < self.level.value:
            return
        line = {"t": self.clock.now_ms(), "program": self.program, "level": level.name.lower(), "event": what.name}
        text = json.dumps({**line, **values}, separators=(",", ":"))
        with self._lock:
            self.stream.write(text + "\n")
            self.stream.flush()

    def library(self, record: logging.LogRecord) -> None:
        """What a library wanted to say: that it did, how loud, and the type of its error."""
        top = record.name.split(".", 1)[0]
        error = record.exc_info[1] if record.exc_info else None
        level = max((known for known in Level if known.value <= record.levelno), key=_loudness, default=Level.DEBUG)
        values: dict[str, object] = {"logger": top if top in LIBRARIES else "other"}
        self._line(LIBRARY, level, values | (_described(error) if error else {}))


def _loudness(level: Level) -> int:
    return int(level.value)


def _let_in(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, TwinwardError):
        return value.reason
    if isinstance(value, type) and issubclass(value, TwinwardError):
        return value.reason
    if isinstance(value, str) and value in VOCABULARY.words:
        return value
    if isinstance(value, (list, tuple)):
        return [_let_in(one) for one in value[:32]]
    UNREGISTERED.inc()
    return "?"


def _described(error: BaseException) -> dict[str, object]:
    """Type and places: names from code, nothing from data."""
    return {"error": type(error).__name__, "places": _places(error.__traceback__)}


def _places(trace: TracebackType | None) -> list[str]:
    found = []
    for frame, line in traceback.walk_tb(trace):
        file = Path(frame.f_code.co_filename)
        name = str(file.relative_to(HOUSE)) if file.is_relative_to(HOUSE) else file.name
        found.append(f"{name}:{line}")
    return found[-8:]


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.library(record)


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        LOG.unexpected(args.exc_value, 0)


LOG = Log(sys.stderr, SystemClock())


def note(what: Event, /, **values: object) -> None:
    """One line at level info of this program's log."""
    LOG.note(what, **values)


def warn(what: Event, /, **values: object) -> None:
    LOG.note(what, Level.WARNING, **values)


def fail(what: Event, /, **values: object) -> None:
    LOG.note(what, Level.ERROR, **values)


def start(settings: Told, clock: Clock, stream: TextIO | None = None) -> None:
    """Closes the vocabulary, takes over logging and uncaught errors, opens the metrics door.

    Raises:
        BadInput: `log_level` or `metrics_listen` cannot be read.
    """
    if settings.log_level not in LEVELS:
        raise BadInput(f"log_level must be one of {', '.join(LEVELS)}")
    VOCABULARY.words.update((settings.program, settings.profile))
    LOG.clock, LOG.program = clock, settings.program
    LOG.stream = sys.stderr if stream is None else stream
    LOG.level = Level(LEVELS[settings.log_level])
    VOCABULARY.closed = True
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [_Handler(LOG)]
    root.setLevel(max(LEVELS[settings.log_level], logging.WARNING))
    sys.excepthook = lambda kind, error, trace: LOG.unexpected(error.with_traceback(trace), 0)
    threading.excepthook = _thread_ended
    if settings.metrics_listen:
        host, _, port = settings.metrics_listen.rpartition(":")
        if not port.isdigit():
            raise BadInput("metrics_listen must be host:port")
        start_http_server(int(port), addr=host or "127.0.0.1")
