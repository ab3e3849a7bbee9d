"""A coordinator and hospitals that joined it, with patients of their own: for stories over real processes."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.cli import virtual_tables
from tests import invariants
from tests.coordinator import Coordinator
from tests.hospital import Hospital
from tests.scenario.interception import Keys, Proxy
from twinward.errors import TwinwardError
from twinward.wire.v1 import federation_pb2 as pb
from twinward.wire.v1 import federation_pb2_grpc as grpc_pb

WAIT_S = 180.0
ENDED = ("done", "stopped", "failed")

STUDY = """
title = "{title}"
question = "What goes with the disease?"
purpose = "research"
recipe = "logistic"
privacy = "NON-PRIVATE"
rounds = {rounds}
deadline_s = {deadline_s}
minimum_sites = {minimum_sites}
minimum_cohort = {minimum_cohort}
seed = 1
test_fraction = 0.0

[settings]
{settings}

[[columns]]
name = "age"
code = "loinc|30525-0"

[[columns]]
name = "female"
code = "patient|female"

[[columns]]
name = "systolic"
code = "loinc|8480-6"
unit = "mm[Hg]"

[outcome]
name = "disease"
code = "condition|snomed|53741008"
"""


def study(title: str, *, rounds: int = 20, deadline_s: float = 60.0, minimum_sites: int = 2, minimum_cohort: int = 20,
          settings: str = 'method = "irls"') -> bytes:  # fmt: skip
    """A study file; the title makes it a study of its own."""
    return STUDY.format(
        title=title, rounds=rounds, deadline_s=deadline_s, minimum_sites=minimum_sites, minimum_cohort=minimum_cohort,
        settings=settings,
    ).encode()  # fmt: skip


# Long enough to be met in the middle: rounds that do little, one after the other.
MANY_ROUNDS = 'method = "fedavg"\nlearning_rate = 0.05\nlocal_epochs = 1'


class Consortium:
    """Everything is up, joined and filled when it is made."""

    def __init__(
        self, names: Sequence[str] = ("St. Anne", "St. Brice", "St. Clare"), canary: Mapping[str, str] | None = None
    ) -> None:
        """`canary`: cells of one more patient of the second hospital."""
        self.coordinator = Coordinator()
        self.hospitals: list[Hospital] = []
        self.proxies: list[Proxy] = []
        self.withdrawn: set[str] = set()  # patients' numbers
        self._stubs: dict[str, grpc_pb.CoordinatorStub] = {}
        self._site_stubs: dict[str, grpc_pb.FederationStub] = {}
        try:
            for name in names:
                self.hospitals.append(Hospital(name))
            self.tables = virtual_tables.write(self.coordinator.folder / "tables", 3)
            if canary:
                with self.tables[1].open("a") as table:
                    csv.DictWriter(table, virtual_tables.COLUMNS, lineterminator="\n").writerow(canary)
            for hospital, table in zip(self.hospitals, self.tables, strict=False):
                self._fill(hospital, table)
        except BaseException:
            self.close()
            raise

    def _fill(self, hospital: Hospital, table: Path) -> None:
        self.command(
            hospital, "ingest", "table", str(table), "--mapping", str(table.with_suffix(".mapping.toml")),
            "--consent", str(table.with_name("consent.json")), "--yes-deidentified",
        )  # fmt: skip

    def join(self, hospital: Hospital, proxy: Proxy | None = None) -> None:
        token = self.coordinator.invite(hospital.node.site)
        through = ("--proxy", proxy.address) if proxy else ()
        self.command(hospital, "site", "join", token, *through)
        if proxy:
            self.proxies.append(proxy)

    def keys(self, hospital: Hospital) -> Keys:
        """For a proxy of `hospital` that reads along."""
        programs = self.coordinator.directory / "pki" / "programs"
        fleet = self.coordinator.node.last_ports()["fleet"]
        stem = lambda port: programs / ("superlink" if port == fleet else "coordinator")  # noqa: E731

        def client() -> tuple[Path, Path] | None:
            file = hospital.directory / "run" / "federation" / "membership.json"
            if not file.exists():
                return None
            member = json.loads(file.read_text())
            written = [hospital.folder / "recorder.pem", hospital.folder / "recorder.key"]
            for path, text in zip(written, (member["certificate"], member["key"]), strict=True):
                path.write_text(text)
            return written[0], written[1]

        return Keys(
            server=lambda port: (stem(port).with_suffix(".pem"), stem(port).with_suffix(".key")),
            authority=self.coordinator.directory / "pki" / "ca.pem",
            client=client,
        )

    def command(self, at: Hospital, *arguments: str) -> object:
        done = at.twinward("--json", *arguments, timeout_s=WAIT_S)
        assert done.returncode == 0, f"{arguments[:3]}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    # Patients -------------------------------------------------------------------------

    def patients(self, place: int) -> list[dict[str, str]]:
        """Rows of that hospital's table which a study of ours counts."""
        with self.tables[place].open() as table:
            rows = list(csv.DictReader(table))
        return [row for row in rows if row["systolic"] != "?" and row["number"] not in self.withdrawn]

    def withdraw(self, place: int) -> None:
        """Some patient of that hospital, who was counted so far, permits no research any more."""
        number = self.patients(place)[0]["number"]
        system = f"urn:twinward:virtual:{virtual_tables.CLINICS[place].slug}"
        self.command(
            self.hospitals[place], "consent", "withdraw", "--mrn", f"{system}|{number}", "--purpose", "research"
        )
        self.withdrawn.add(number)

    # Studies --------------------------------------------------------------------------

    def stub(self, role: str = "researcher") -> grpc_pb.CoordinatorStub:
        if role not in self._stubs:
            self._stubs[role] = grpc_pb.CoordinatorStub(self.coordinator.session(role).channel("coordinator"))
        return self._stubs[role]

    def site_stub(self, hospital: Hospital) -> grpc_pb.FederationStub:
        if hospital.node.site not in self._site_stubs:
            channel = hospital.session("data-steward").channel("federation")
            self._site_stubs[hospital.node.site] = grpc_pb.FederationStub(channel)
        return self._site_stubs[hospital.node.site]

    def submit(self, file: bytes) -> bytes:
        return self.stub().SubmitStudy(pb.SubmitStudyRequest(file=file)).study

    def decide(self, hospital: Hospital, found: bytes, decision: str = "approve") -> None:
        """Once the study has reached the hospital; the decision has reached the coordinator when this returns."""
        at = self.site_stub(hospital)
        until(lambda: any(one.study == found for one in at.ListSiteStudies(pb.ListSiteStudiesRequest()).studies))
        at.DecideSiteStudy(
            pb.DecideSiteStudyRequest(study=found, decision=decision, reason="reads well", privacy="NON-PRIVATE")
        )
        site = hospital.node.site
        until(lambda: any(a.site == site and a.decision == decision for a in self.summary(found).answers))

    def approved(self, file: bytes, by: Sequence[Hospital] | None = None) -> bytes:
        """Submits and has it approved."""
        found = self.submit(file)
        for hospital in self.hospitals if by is None else by:
            self.decide(hospital, found)
        return found

    def run(self, found: bytes) -> None:
        self.stub().RunStudy(pb.RunStudyRequest(study=found))

    def show(self, found: bytes) -> pb.ShowStudyResponse:
        return self.stub().ShowStudy(pb.ShowStudyRequest(study=found))

    def summary(self, found: bytes) -> pb.StudySummary:
        return self.show(found).summary

    def rounds(self, found: bytes) -> list[pb.RoundSummary]:
        return list(self.show(found).rounds)

    def finished(self, found: bytes, timeout_s: float = WAIT_S) -> pb.StudySummary:
        until(lambda: self.summary(found).state in ENDED, timeout_s)
        return self.summary(found)

    def model(self, found: bytes) -> Mapping[str, object]:
        made = json.loads(self.stub().StudyResults(pb.StudyResultsRequest(study=found)).model)
        assert isinstance(made, dict)
        return made

    def online(self) -> set[str]:
        return {one.site for one in self.stub().ListSites(pb.ListSitesRequest()).sites if one.online}

    def check(self) -> None:
        """Every promise, at every hospital."""
        for hospital in self.hospitals:
            invariants.holds(hospital.directory)

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        for one in (*self.hospitals, self.coordinator):
            one.close()


def until(ready: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Asks again until `ready`; what a program that is just coming back answers counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if ready():
                return
        except TwinwardError:
            pass
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)
