"""The private socket: who knows the secret is answered, nobody else is, and no text of an error crosses it."""

from __future__ import annotations

import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.federation.course import Answer, Ask
from services.federation.flower import relay
from services.federation.flower.frames import encode_ask
from twinward.errors import TooLarge, TwinwardError, Unauthenticated, Unavailable

SECRET = bytes(range(32))
BUNDLE = b"b" * 32
ASK = Ask(b"s" * 32, 3, "step", np.array([1.0, np.nan, -0.0]), {"k": 1})


class Hospital:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[bytes, Ask]] = []
        self.raises: Exception | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=relay.serve_work, args=(path, SECRET, self.answer, self.stop))

    def answer(self, bundle: bytes, ask: Ask) -> Answer:
        self.asked.append((bundle, ask))
        if self.raises is not None:
            raise self.raises
        return Answer(ask.vector, {"n": float("nan")})


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    deep = tmp_path / ("d" * 100)  # deeper than a socket's address is long
    deep.mkdir()
    with tempfile.TemporaryDirectory(dir=deep) as folder:
        found = Hospital(Path(folder) / "work.sock")
        found.thread.start()
        while not found.path.exists():
            found.stop.wait(0.01)
        yield found
        found.stop.set()
        found.thread.join()
        assert not found.path.exists()


def test_an_ask_is_answered_untouched(hospital: Hospital) -> None:
    answer = relay.ask_hospital(hospital.path, SECRET, BUNDLE, encode_ask(ASK))
    assert answer.vector.tobytes() == ASK.vector.tobytes()
    assert np.isnan(answer.numbers["n"])
    [(bundle, ask)] = hospital.asked
    assert (bundle, ask.study, ask.round, ask.step, dict(ask.config)) == (BUNDLE, ASK.study, 3, "step", {"k": 1})
    assert stat.S_IMODE(hospital.path.stat().st_mode) == 0o600


def test_who_does_not_know_the_secret_is_not_answered(hospital: Hospital) -> None:
    with pytest.raises((Unavailable, Unauthenticated)):
        relay.ask_hospital(hospital.path, b"x" * 32, BUNDLE, encode_ask(ASK))
    assert hospital.asked == []


def test_a_program_that_does_not_know_the_secret_gets_no_ask(hospital: Hospital) -> None:
    """The socket's path taken by another: it can play the caller's own proof back, and that is not the answer."""
    with tempfile.TemporaryDirectory(prefix="tw-") as folder, socket.socket(socket.AF_UNIX) as other:
        path = Path(folder) / "o"
        other.bind(str(path))
        other.listen(1)
        heard: list[bytes] = []

        def echo() -> None:
            line, _ = other.accept()
            with line:
                line.settimeout(5)
                line.sendall(line.recv(32))  # the caller's own nonce
                line.sendall(line.recv(32))  # and its own proof
                heard.append(line.recv(1000))

        thread = threading.Thread(target=echo)
        thread.start()
        with pytest.raises(Unauthenticated):
            relay.ask_hospital(path, SECRET, BUNDLE, encode_ask(ASK))
        thread.join()
        assert heard == [b""]


def test_whatever_goes_wrong_leaves_as_a_public_word(hospital: Hospital) -> None:
    hospital.raises = TwinwardError("of Anna Muster", detail="born 1932")
    assert relay.ask_hospital(hospital.path, SECRET, BUNDLE, encode_ask(ASK)).refusal == "INTERNAL"
    hospital.raises = ZeroDivisionError("Anna Muster")
    assert relay.ask_hospital(hospital.path, SECRET, BUNDLE, encode_ask(ASK)).refusal == "INTERNAL"
    assert relay.ask_hospital(hospital.path, SECRET, BUNDLE, b"no ask").refusal == "BAD_ASK"


def test_silent_callers_hold_nobody_up(hospital: Hospital) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        with relay.short_name(hospital.path) as address:
            silent.connect(address)
        assert relay.ask_hospital(hospital.path, SECRET, BUNDLE, encode_ask(ASK)).refusal == ""


def test_nobody_there() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(Unavailable):
        relay.ask_hospital(Path(folder) / "none", SECRET, BUNDLE, encode_ask(ASK))


def test_a_program_that_dies_at_work_is_unavailable() -> None:
    with tempfile.TemporaryDirectory(prefix="tw-") as folder, socket.socket(socket.AF_UNIX) as dying:
        path = Path(folder) / "d"
        dying.bind(str(path))
        dying.listen(1)

        def die() -> None:
            line, _ = dying.accept()
            with line:
                relay._prove(line, SECRET, b"program", b"caller", bytes(32), first=False)
                relay._receive(line)

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(Unavailable):
            relay.ask_hospital(path, SECRET, BUNDLE, encode_ask(ASK))
        thread.join()


def test_a_frame_over_the_bound_is_not_read() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.sendall((2**31).to_bytes(4, "big"))
        with pytest.raises(TooLarge):
            relay._receive(there)
