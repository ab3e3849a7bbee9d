"""A process that records under load and says what was released (arguments: DSN FOLDER NAME).

Each line on its standard output is written after the release: `R <index> <trace>`,
and now and then `H <size> <root>` for a released head.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from uuid import UUID

import psycopg

from services.auth.grouping import Proposal
from tests.unit.auth.ledger_house import House
from twinward.errors import Unavailable
from twinward.ledger.kinds import Kind

CALLERS = 8
LEASE = """insert into vault.lease (id, role, handle, tags, purpose, issued, until, leaf, actor)
           values (gen_random_uuid(), 'twin', %s, '{}', 'treatment', now(), now(), %s, %s)"""


def main(dsn: str, folder: str, name: str) -> None:
    house = House(lambda: psycopg.connect(dsn), Path(folder))

    def call(caller: int) -> None:
        number = 0
        while True:
            number += 1
            trace = f"{name}-{caller}-{number}"
            patient = UUID(int=caller + 1)

            def writes(index: int, patient: UUID = patient, trace: str = trace) -> list[tuple[str, list[object]]]:
                return [(LEASE, [patient, index, trace])]

            proposal = Proposal(Kind.GRANT, {"trace": trace}, patient=patient, writes=writes)
            try:
                (index,) = sequencer.commit([proposal])
            except Unavailable:
                threading.Event().wait(0.02)
                continue
            os.write(1, f"R {index} {trace}\n".encode())
            if number % 20 == 0:
                edge = sequencer.released().edge
                os.write(1, f"H {edge.size} {edge.root().hex()}\n".encode())

    with house.sequencer() as sequencer:
        publisher = house.publisher(sequencer)
        threads = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in range(CALLERS)]
        for thread in threads:
            thread.start()
        while True:
            threading.Event().wait(0.1)
            try:
                publisher.publish()
            except Unavailable:
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
