"""What the coordinator's program asks of the SuperLink: hospitals in and out, runs started and stopped.

A run is started by the bundle's hash, and is told the study's hash and the attempt's number, nothing else: what is
computed stands in the coordinator's own books. Registering is safe to repeat; starting is not, so the attempt's
number is what tells two runs of a study apart.
"""

from __future__ import annotations

from pathlib import Path

from services.federation.flower import adapter, bundle
from twinward.errors import Conflict, Unready


class Control:
    """One SuperLink's control listener; each method is one or two calls over TLS.

    Every method raises Unavailable where the SuperLink does not answer, and Unready where it refuses the token.
    """

    def __init__(self, address: str, ca_file: Path, token_file: Path) -> None:
        """Raises Unready: a file cannot be read."""
        try:
            authority, token = ca_file.read_bytes(), token_file.read_text().strip()
        except OSError as error:
            raise Unready("the SuperLink's authority or token cannot be read", detail=str(error)) from None
        adapter.prepare(None)
        self._calls = adapter.ControlCalls(address, authority, token)

    def close(self) -> None:
        self._calls.close()

    def register(self, site: str, node_key: bytes) -> int:
        """Lets the holder of `node_key` (public, PEM or DER, a NIST curve) in as `site`, and no other key; its node id.

        Raises:
            BadInput: `node_key` is no such key.
            Conflict: the key is another hospital's, or was taken out of use: the hospital makes a new one.
        """
        key = adapter.node_public_key(node_key)
        nodes = self._calls.nodes()
        mine = [node for node in nodes if node.key == key]
        if any(node.name != site or node.gone for node in mine):
            raise Conflict("this node key was used before: the hospital needs a new one")
        for node in nodes:
            if node.name == site and not node.gone and node.key != key:
                self._calls.unregister(node.node_id)
        return mine[0].node_id if mine else self._calls.register(site, key)

    def unregister(self, node_id: int) -> None:
        """The node's key opens nothing any more; one that is gone already is no error."""
        self._calls.unregister(node_id)

    def start(self, study: bytes, attempt: int) -> int:
        """A run of `study` (its hash) as its `attempt`-th; the run's id.

        Raises:
            Unready: the SuperLink has another bundle than this program.
        """
        return self._calls.start(bundle.APP, bundle.bundle_sha256(), {"study": study.hex(), "attempt": attempt})

    def state(self, run_id: int) -> str:
        """pending | running | finished:<completed|failed|stopped> | unknown: the SuperLink has lost it."""
        return self._calls.state(run_id)

    def stop(self, run_id: int) -> None:
        """Ends a run; one that has ended or is unknown is no error."""
        self._calls.stop(run_id)
