"""A coordinator for scenario tests: as `Hospital`, with the programs of a coordinator.

def test_join(coordinator: Coordinator, hospital: Hospital) -> None:
    coordinator.join(hospital)
    studies = CoordinatorStub(coordinator.session("researcher", "research").channel("coordinator"))
    coordinator.kill("superlink")
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from infra.embedded.programs import COORDINATOR
from tests.hospital import Hospital


class Coordinator(Hospital):
    """`pid`, `kill`, `pause`, `log` know "coordinator", "superlink", "rounds", "auth", "site-idp", "postgres"."""

    KIND = COORDINATOR

    def __init__(self, name: str = "Registry", further: Mapping[str, Mapping[str, object]] | None = None) -> None:
        super().__init__(name, further)

    def invite(self, site: str) -> str:
        """A one-time token for the hospital with this site id."""
        done = self.twinward("--json", "coordinator", "invite", site)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["token"])

    def join(self, hospital: Hospital) -> None:
        """The hospital joins, as its administrator would."""
        done = hospital.twinward("--json", "site", "join", self.invite(hospital.node.site))
        assert done.returncode == 0, done.stderr
