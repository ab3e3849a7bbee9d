"""The program `superlink`: Flower's SuperLink within our own process and behind our own listeners.

Three listeners: fleet for hospitals' SuperNodes (TLS, each call signed by a registered node key), control for the
coordinator's program (loopback, TLS, one token), runtime for the coordinator's executor (loopback, a shared secret
by HMAC, then one token a task). Flower's state is one SQLite file that survives kill -9, and is disposable all the
same: studies, checkpoints and results are in the coordinator's database. It holds the updates of rounds in clear
until they are fetched, so its folder is 0700, and between runs everything of finished ones is deleted and the file
made small again. A file that is not sound is put away and begun anew; the coordinator registers its hospitals again.
"""

from __future__ import annotations

import hmac
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

from services.federation.flower import adapter, adapter_node, bundle
from services.federation.flower.acts import Acts, Record
from services.federation.flower.listeners import CONTROL, FLEET, RUNTIME, Listener, Listeners
from services.federation.settings import SuperlinkSettings
from twinward import telemetry
from twinward.clock import SystemClock
from twinward.errors import Unready
from twinward.link.client import open_channel
from twinward.link.server import serve
from twinward.link.service import ServiceTokens
from twinward.link.tokens import TokenVerifier
from twinward.settings import load
from twinward.wire.codec.cohort import CohortCalls

TIDY_S = 30.0  # how often finished runs are looked for
LOOK_S = 0.5
GRACE_S = 3.0
SECRET_BYTES = 16  # at least, of the runtime's secret and the control token

TIDIED = telemetry.event("link_tidied", "bytes")
BEGUN_ANEW = telemetry.event("link_state_begun_anew")


def run(file: Path, stop: threading.Event) -> None:
    """Serves until `stop`."""
    chosen, clock = load(SuperlinkSettings, file), SystemClock()
    adapter.prepare(chosen.data_dir / "flower")
    telemetry.start(chosen, clock)
    channel = None
    record: Record | None = None
    if chosen.auth_address:
        channel = open_channel(chosen.auth_address, "auth", chosen, ServiceTokens.of(chosen, clock))
        record = CohortCalls(channel).record
    link = Superlink(chosen, record)
    door = serve([], chosen, TokenVerifier.of(chosen, clock), workers=2) if chosen.listen else None
    link.start()
    if door is not None:
        door.start()
    telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port if door else 0)
    link.run(stop)
    if door is not None:
        door.stop(GRACE_S)
    if channel is not None:
        channel.close()
    telemetry.note(telemetry.STOPPED)


class Superlink:
    """The embedded SuperLink; `start`, then `run` until the end."""

    def __init__(self, chosen: SuperlinkSettings, record: Record | None) -> None:
        """
        Raises:
            Unready: a file cannot be read, an address is taken, or a listener that must stay on loopback would not.
        """
        token, secret = _secret(chosen.control_token_file), _secret(chosen.runtime_secret_file, text=False)
        for address in (chosen.control_listen, chosen.runtime_listen):
            if not address.startswith(("127.", "[::1]:", "localhost:")):
                raise Unready("control_listen and runtime_listen must be loopback addresses")
        folder = chosen.data_dir / "link"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._state = folder / "state.db"
        _sound(self._state)
        self._acts = Acts(record) if record is not None else None
        self._app = adapter.superlink_app(
            self._state,
            secret,
            (chosen.ca_file, chosen.certificate_file, chosen.key_file),
            lambda shown: hmac.compare_digest(shown.encode(), token),
            self._acts.tell if self._acts is not None else lambda act: None,
        )
        adapter.quiet()
        adapter_node.hasten()
        content = bundle.bundle_bytes()
        key = _secret(chosen.bundle_key_file, text=False)
        adapter.store_bundle(self._app, bundle.APP, content, bundle.signed(content, key))
        tls = chosen.certificate_file, chosen.key_file
        self.listeners = Listeners(
            self._app,
            [
                Listener(chosen.fleet_listen, FLEET, *tls),
                Listener(chosen.control_listen, CONTROL, *tls, token.decode()),
                Listener(chosen.runtime_listen, RUNTIME),
            ],
        )

    def start(self) -> None:
        self.listeners.start()

    def run(self, stop: threading.Event) -> None:
        """Raises Unready: the listeners ended by themselves."""
        recorder = threading.Thread(target=self._record, args=(stop,), name="acts")
        recorder.start()
        looks, busy = 0, True
        try:
            while not stop.wait(LOOK_S):
                if not self.listeners.alive:
                    raise Unready("Flower's listeners have ended: see the log")
                looks += 1
                if looks * LOOK_S >= TIDY_S:
                    looks, busy = 0, self._tidied(busy)
        finally:
            stop.set()
            self.listeners.stop()
            recorder.join(GRACE_S)

    def _record(self, stop: threading.Event) -> None:
        if self._acts is not None:
            self._acts.run(stop)

    def _tidied(self, busy: bool) -> bool:
        """Whether a run was going on: only after one there is something to tidy."""
        if not adapter.tidy(self._app):
            return True
        if busy:
            before = self._state.stat().st_size
            with suppress(sqlite3.Error), closing(sqlite3.connect(self._state, timeout=5)) as line:
                line.execute("VACUUM")
                line.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            telemetry.note(TIDIED, bytes=max(0, before - self._state.stat().st_size))
        return False


def _sound(state: Path) -> None:
    """A state file that SQLite cannot read is put away: nothing in it is needed."""
    if not state.exists():
        return
    try:
        with closing(sqlite3.connect(state, timeout=5)) as line:
            if line.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return
    except sqlite3.Error:
        pass
    for suffix in ("", "-wal", "-shm"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)
    telemetry.warn(BEGUN_ANEW)


def _secret(file: Path, *, text: bool = True) -> bytes:
    try:
        found = file.read_bytes()
    except OSError as error:
        raise Unready(f"{file.name} cannot be read: check its owner and mode", detail=str(error)) from None
    found = found.strip() if text else found
    if len(found) < SECRET_BYTES:
        raise Unready(f"{file.name} is too short to be a secret")
    return found
