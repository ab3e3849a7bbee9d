"""The sessions program for bench/streams.py: the real one but for auth, whose keys and ledger come from the bench."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from services.twin.compiled import use_cache
from services.twin.settings import SessionSettings
from twinward.clock import SystemChance, SystemClock
from twinward.link.tokens import TokenVerifier
from twinward.settings import ProgramSettings


class Leaves:
    """Numbers in the place of the ledger's."""

    def __init__(self) -> None:
        self._leaf = 0

    def record(self, kind: str, body: Mapping[str, object]) -> int:
        self._leaf += 1
        return self._leaf


def main() -> None:
    given = json.loads(sys.stdin.readline())
    folder = Path(given["folder"])
    stem = folder / "site" / "pki" / "programs" / "sessions"
    base = ProgramSettings(
        site="st-test.demo", profile="demo", program="sessions", listen="127.0.0.1:0",
        ca_file=folder / "site" / "pki" / "ca.pem", certificate_file=stem.with_suffix(".pem"),
        key_file=stem.with_suffix(".key"), database=given["dsn"], database_password_file=Path(given["password"]),
        issuer=given["issuer"], data_dir=folder,
    )  # fmt: skip
    settings = SessionSettings(
        **asdict(base), numba_cache_dir=Path.home() / ".cache" / "twinward-bench", cases_dir=folder / "cases",
        threads=1, streams_per_person=1000, streams_most=1000,
    )  # fmt: skip
    use_cache(settings.numba_cache_dir)
    from services.twin.session_program import serve_sessions, warm

    clock = SystemClock()
    verifier = TokenVerifier(base.issuer, "twin", lambda: given["keys"], clock)
    warm()
    with serve_sessions(settings, clock, SystemChance(), ledger=Leaves(), verifier=verifier) as door:
        door.ready(True)
        print(door.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
