"""`python -m services.compactor --settings F`: turns tail into blocks, and nothing else.

The only place of this program that builds things. It wakes when a reader asks
(`notify compact`), when enough tail waits, and every so often for the rest. One
compactor works at a time: a second one waits for the first one's lock.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.compactor.loop import Loop
from services.compactor.settings import CompactorSettings
from twinward import program, telemetry
from twinward.clock import SystemChance, SystemClock
from twinward.errors import BadInput
from twinward.link.client import open_channel
from twinward.link.server import Door, serve
from twinward.link.service import ServiceTokens
from twinward.link.tokens import TokenVerifier
from twinward.settings import load
from twinward.wire.codec.compaction import CompactionCalls

GRACE_S = 5.0
CALL_S = 30.0  # sealing the manifests of a large run takes auth a while


def main(arguments: list[str] | None = None) -> int:
    return program.begin("compactor", __doc__, {"compactor": run}, arguments)


def run(file: Path, stop: threading.Event) -> None:
    """Turns tail rows into blocks under leases of 60 s, until `stop`."""
    chosen, clock, chance = load(CompactorSettings, file), SystemClock(), SystemChance()
    telemetry.start(chosen, clock)
    channel = open_channel(chosen.auth_address, "auth", chosen, ServiceTokens.of(chosen, clock), deadline_s=CALL_S)
    loop = Loop(chosen, CompactionCalls(channel), _authority(chosen), clock, chance)
    door: Door | None = serve([], chosen, TokenVerifier.of(chosen, clock), chance=chance) if chosen.listen else None
    if door is not None:
        door.start()
    telemetry.note(telemetry.STARTED, profile=chosen.profile, port=door.port if door else 0)
    loop.run(stop)
    if door is not None:
        door.stop(GRACE_S)
    channel.close()
    telemetry.note(telemetry.STOPPED)


def _authority(chosen: CompactorSettings) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(chosen.authority_public_file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            "the authority's public key cannot be read; check authority_public_file", detail=type(error).__name__
        ) from None


if __name__ == "__main__":
    sys.exit(main())
