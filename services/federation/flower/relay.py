"""The private socket between a ClientApp, which Flower started, and the hospital's program, which holds the keys.

One connection carries one ask:

    1. both sides send 32 random bytes;
    2. the caller proves the secret over both, then the program does: HMAC-SHA-256, each with its own word first,
       so that neither proof can be played back as the other;
    3. the caller sends one frame (bundle hash and ask), the program answers with one frame.

A frame is four bytes of length and its bytes, at most FRAME_BYTES. Nothing of an exception crosses the socket.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.federation.course import Answer, Ask
from services.federation.flower.frames import (
    FRAME_BYTES,
    decode_answer,
    decode_work,
    encode_answer,
    encode_work,
    refusal,
)
from twinward import telemetry
from twinward.clock import Chance, SystemChance
from twinward.errors import BadInput, TooLarge, Unauthenticated, Unavailable, Unready

Work = Callable[[bytes, Ask], Answer]

NONCE = 32
HANDSHAKE_S = 5.0
FRAME_S = 60.0  # to get one whole frame across
LONGEST_S = 900.0  # that an answer may take
AT_ONCE = 4  # connections answered; SuperNode sends one ask at a time, so more are leftovers of a restart
ACCEPT_S = 0.2  # how often the end is looked for

REFUSED = telemetry.event("relay_refused", "why")
BROKEN = telemetry.event("relay_broken", "id", "error", "places")


def serve_work(path: Path, secret: bytes, answer: Work, stop: threading.Event, *, chance: Chance | None = None) -> None:
    """Answers asks on the Unix socket `path` until `stop`; `answer` gets the bundle's hash and the ask.

    The folder must be this user's alone. Whatever `answer` raises goes out as INTERNAL and to this program's log.

    Raises:
        Unready: the socket cannot be made there.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="relay") as pool, _listening(path) as listener:
        listener.settimeout(ACCEPT_S)
        free = threading.BoundedSemaphore(AT_ONCE)  # who is over it waits in the kernel's short queue, not in ours
        while not stop.is_set():
            if not free.acquire(timeout=ACCEPT_S):
                continue
            try:
                line, _ = listener.accept()
            except TimeoutError:
                free.release()
                continue
            pool.submit(_one, line, secret, answer, chance or SystemChance()).add_done_callback(
                lambda _: free.release()
            )
    path.unlink(missing_ok=True)


def ask_hospital(path: Path, secret: bytes, bundle: bytes, ask: bytes, *, chance: Chance | None = None) -> Answer:
    """The hospital's answer to an encoded ask, from the ClientApp's side.

    Raises:
        Unavailable: nobody listens, or it hung up before it answered.
        Unauthenticated: the other side does not know the secret.
        Malformed, TooLarge: what came back is no answer.
    """
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as line:
            line.settimeout(HANDSHAKE_S)
            with short_name(path) as address:
                line.connect(address)
            _prove(line, secret, b"caller", b"program", (chance or SystemChance()).bytes(NONCE), first=True)
            line.settimeout(FRAME_S)
            _send(line, encode_work(bundle, ask))
            line.settimeout(LONGEST_S)
            return decode_answer(_receive(line))
    except OSError as error:
        raise Unavailable("the hospital's program does not answer", detail=type(error).__name__) from None


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of the socket that fits its address however deep the folder lies: 107 bytes are all there is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path.with_name(f".{path.name}")
    try:
        new.unlink(missing_ok=True)  # of a killed program
        with short_name(new) as address:
            listener.bind(address)
        new.chmod(0o600)
        listener.listen(AT_ONCE)
        new.rename(path)  # whoever sees it is answered
    except OSError as error:
        listener.close()
        raise Unready(f"cannot listen on {path.name}: its folder is missing or not this program's", detail=str(error)) \
            from None  # fmt: skip
    return listener


def _one(line: socket.socket, secret: bytes, answer: Work, chance: Chance) -> None:
    with contextlib.closing(line):
        try:
            line.settimeout(HANDSHAKE_S)
            _prove(line, secret, b"program", b"caller", chance.bytes(NONCE), first=False)
            line.settimeout(FRAME_S)
            frame = _receive(line)
            _send(line, _answered(frame, answer, chance))
        except Unauthenticated as error:
            telemetry.warn(REFUSED, why=error)
        except (OSError, BadInput) as error:
            telemetry.LOG.unexpected(error, int.from_bytes(chance.bytes(5), "big"), BROKEN)


def _answered(frame: bytes, answer: Work, chance: Chance) -> bytes:
    try:
        bundle, ask = decode_work(frame)
    except BadInput:
        return encode_answer(refusal("BAD_ASK"))
    try:
        return encode_answer(answer(bundle, ask))
    except Exception as error:  # whatever it is: only its kind and place are written down, and only here
        telemetry.LOG.unexpected(error, int.from_bytes(chance.bytes(5), "big"), BROKEN)
        return encode_answer(refusal("INTERNAL"))


def _prove(line: socket.socket, secret: bytes, own: bytes, other: bytes, nonce: bytes, *, first: bool) -> None:
    """Both sides show that they know the secret; the caller first, so that it is nobody's oracle.

    Raises:
        Unauthenticated: the other side does not know it.
    """
    line.sendall(nonce)
    theirs = _exactly(line, NONCE)
    both = nonce + theirs if first else theirs + nonce  # the caller's nonce stands first
    proof = hmac.digest(secret, own + both, "sha256")
    if first:
        line.sendall(proof)
    shown = _exactly(line, len(proof))
    if not hmac.compare_digest(shown, hmac.digest(secret, other + both, "sha256")):
        raise Unauthenticated("the other side of the private socket does not know its secret")
    if not first:
        line.sendall(proof)


def _send(line: socket.socket, frame: bytes) -> None:
    line.sendall(len(frame).to_bytes(4, "big") + frame)


def _receive(line: socket.socket) -> bytes:
    length = int.from_bytes(_exactly(line, 4), "big")
    if length > FRAME_BYTES:
        raise TooLarge(f"a frame has more than {FRAME_BYTES} bytes")
    return _exactly(line, length)


def _exactly(line: socket.socket, n: int) -> bytes:
    found = bytearray()
    while len(found) < n:
        piece = line.recv(min(n - len(found), 1 << 20))
        if not piece:
            raise ConnectionError
        found += piece
    return bytes(found)
