"""A node in a temporary folder, with the programs that a bench needs as real processes."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.embedded.node import Node
from infra.embedded.programs import PROGRAMS
from infra.embedded.supervisor import Supervisor
from twinward.clock import SystemChance, SystemClock


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """Where `node` can be made; everything of it is gone afterwards, also a database that lies elsewhere."""
    found = Path(tempfile.mkdtemp(prefix=prefix))
    found.chmod(0o711)  # as root the database's account must walk through
    try:
        yield found
    finally:
        home = found / "node" / "postgres"
        if home.is_symlink():
            shutil.rmtree(home.resolve(), ignore_errors=True)
        shutil.rmtree(found, ignore_errors=True)


@contextmanager
def supervised(node: Node, wanted: Sequence[str]) -> Iterator[None]:
    """The programs `wanted`, started and not waited for."""
    chosen = [program for program in PROGRAMS if program.name in wanted]
    supervisor = Supervisor(node, SystemClock(), SystemChance(), chosen)
    with node.alone():
        thread = threading.Thread(target=supervisor.run, name="supervisor")
        thread.start()
        try:
            yield
        finally:
            supervisor.stop.set()
            thread.join()


def wait(node: Node, wanted: Sequence[str], seconds: float) -> None:
    """Raises TimeoutError: not all of `wanted` are healthy by then."""
    deadline = time.monotonic() + seconds
    while True:
        found = node.state().get("programs")
        if isinstance(found, dict) and all(found.get(name, {}).get("healthy") for name in wanted):
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the programs did not come up; see the node's logs")
        time.sleep(0.05)
