"""Studies from a notebook: a coordinator for researchers, a hospital for its data steward.

    with Coordinator("./registry") as registry:
        study = registry.submit("study.toml")
        registry.run(study)
        for event in registry.watch(study):
            print(event.text)
        found = registry.results(study)
        found.table()          # a pandas DataFrame, where pandas is installed

Logging in is that of the command line: a demo node's people log in by themselves, others once with
`twinward login`. What is refused is raised as the types of `twinward.errors`.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from twinward.clock import SystemClock
from twinward.errors import BadInput, NotFound, Unavailable, Unready
from twinward.link.reach import Reach
from twinward.link.session import Session
from twinward.wire.v1 import federation_pb2, federation_pb2_grpc

ENDED = ("stopped", "done", "failed")
WAIT_MS = 5_000  # of one question for new events
AWAY_TRIES, AWAY_S = 60, 1.0  # a coordinator that starts anew is waited for
PAGE = 50


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a study; `metrics` are those of a round."""

    number: int
    time_ms: int
    kind: str  # approved | refused | started | round | checkpoint | site_lost | site_back | stopped | done | failed
    text: str
    round: int = 0
    sites: tuple[str, ...] = ()  # that answered
    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What may be released of a finished study."""

    model: Mapping[str, Any]
    card: Mapping[str, Any]
    report: str  # HTML

    def coefficients(self) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
        """(names, estimates in the study's units), the intercept first.

        Raises:
            NotFound: the recipe gives none.
        """
        rows = self._rows()
        return tuple(str(one["name"]) for one in rows), np.array([one["estimate"] for one in rows], np.float64)

    def table(self) -> Any:  # noqa: ANN401 - a pandas DataFrame; pandas is optional
        """The coefficients as a pandas DataFrame, a row each.

        Raises:
            NotFound: the recipe gives none.
            Unready: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise Unready("pandas is not installed: `coefficients()` gives NumPy arrays without it") from None
        kept = ("name", "unit", "estimate", "low", "high", "odds_ratio")
        return pandas.DataFrame([{name: one.get(name) for name in kept} for one in self._rows()]).set_index("name")

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        rows = self.model.get("coefficients")
        if not rows:
            raise NotFound("this study has no coefficients: look at `model` and `report`")
        return cast(Sequence[Mapping[str, Any]], rows)


class _Node:
    """A session with the node in a directory, closed at the end of a `with` block."""

    def __init__(self, directory: str | Path, role: str) -> None:
        self._session = Session(Reach.of(Path(directory)), role, None, SystemClock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()


class Coordinator(_Node):
    """For a researcher. Studies are named by their hash in hex, or the beginning of it.

    Raises:
        BadInput: the directory is a hospital's.
        Unready, Unauthenticated: the coordinator is not up, or nobody has logged in.
    """

    def __init__(self, directory: str | Path, role: str = "researcher") -> None:
        super().__init__(directory, role)
        self._door = federation_pb2_grpc.CoordinatorStub(self._session.channel("coordinator"))

    def check(self, file: str | Path) -> list[str]:
        """What is wrong with a study file; empty where it can be submitted."""
        return list(self._door.CheckStudy(federation_pb2.CheckStudyRequest(file=_bytes(file))).problems)

    def submit(self, file: str | Path) -> str:
        """Submits the study for approval; its hash."""
        return self._door.SubmitStudy(federation_pb2.SubmitStudyRequest(file=_bytes(file))).study.hex()

    def studies(self) -> list[dict[str, str]]:
        """Hash, title and state of every study, newest first."""
        found: list[dict[str, str]] = []
        token = ""
        while True:
            page = self._door.ListStudies(federation_pb2.ListStudiesRequest(page_size=PAGE, page_token=token))
            found += [{"study": one.study.hex(), "title": one.title, "state": one.state} for one in page.studies]
            token = page.next_page_token
            if not token:
                return found

    def decisions(self, study: str) -> dict[str, str]:
        """Site -> waiting, approve, refuse or expired."""
        request = federation_pb2.ShowStudyRequest(study=study_hash(study))
        return {one.site: one.decision for one in self._door.ShowStudy(request).summary.answers}

    def run(self, study: str) -> list[str]:
        """Runs with the sites that approved; their ids."""
        return list(self._door.RunStudy(federation_pb2.RunStudyRequest(study=study_hash(study))).sites)

    def stop(self, study: str, reason: str = "") -> None:
        self._door.StopStudy(federation_pb2.StopStudyRequest(study=study_hash(study), reason=reason))

    def resume(self, study: str) -> int:
        """Goes on from the last checkpoint; the round it begins with."""
        return self._door.ResumeStudy(federation_pb2.ResumeStudyRequest(study=study_hash(study))).from_round

    def watch(self, study: str) -> Iterator[Event]:
        """Every event from the first on, until the study has ended. A coordinator that is away is waited for.

        Raises:
            Unavailable: it stayed away for a minute.
        """
        yield from map(_event, study_events(self._door, study_hash(study)))

    def results(self, study: str) -> Results:
        """The model, its card and its report."""
        found = self._door.StudyResults(federation_pb2.StudyResultsRequest(study=study_hash(study)))
        return Results(json.loads(found.model), json.loads(found.card), found.report.decode())


class Site(_Node):
    """For a hospital's data steward.

    Raises:
        BadInput: the directory is a coordinator's.
        Unready, Unauthenticated: the node is not up, or nobody has logged in.
    """

    def __init__(self, directory: str | Path, role: str = "data-steward") -> None:
        super().__init__(directory, role)
        self._door = federation_pb2_grpc.FederationStub(self._session.channel("federation"))

    def studies(self) -> list[dict[str, str]]:
        """Studies that ask for this hospital; `approval_text` says what approving means."""
        return [
            {
                "study": one.study.hex(), "title": one.title, "state": one.state, "privacy": one.privacy,
                "decision": one.decision.decision, "approval_text": one.approval_text,
            }
            for one in self._door.ListSiteStudies(federation_pb2.ListSiteStudiesRequest()).studies
        ]  # fmt: skip

    def approve(self, study: str, *, privacy: str) -> int:
        """Approves; `privacy` is the very word of the study's class. The entry of this hospital's ledger."""
        return self._decide(study, "approve", "", privacy)

    def refuse(self, study: str, reason: str) -> int:
        """Refuses; the reason stays here. The entry of this hospital's ledger."""
        return self._decide(study, "refuse", reason, "")

    def _decide(self, study: str, decision: str, reason: str, privacy: str) -> int:
        request = federation_pb2.DecideSiteStudyRequest(
            study=study_hash(study), decision=decision, reason=reason, privacy=privacy
        )
        return self._door.DecideSiteStudy(request).leaf


def study_events(
    door: federation_pb2_grpc.CoordinatorStub, study: bytes, away: Callable[[], None] = lambda: None
) -> Iterator[federation_pb2.StudyEvent]:
    """Events from the first one until the study has ended. `away` is called when the coordinator does not answer;
    it is waited for.

    Raises:
        Unavailable: it stayed away for a minute.
    """
    after, tries = 0, 0
    while True:
        request = federation_pb2.WatchStudyRequest(study=study, after=after, wait_ms=WAIT_MS)
        try:
            found = door.WatchStudy(request)
        except Unavailable:
            tries += 1
            if tries == 1:
                away()
            if tries > AWAY_TRIES:
                raise
            time.sleep(AWAY_S)
            continue
        tries = 0
        yield from found.events
        after = found.events[-1].number if found.events else after
        if found.state in ENDED and not found.events:
            return


def study_hash(text: str) -> bytes:
    """A study's hash, or its beginning, from hex. Raises BadInput."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if not 4 <= len(found) <= 32 or text != text.strip():
        raise BadInput("a study is named by its hash or the beginning of it: 8 to 64 hex digits, an even number")
    return found


def _bytes(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError:
        raise BadInput(f"{Path(file).name} cannot be read: check the path") from None


def _event(one: federation_pb2.StudyEvent) -> Event:
    if not one.HasField("round"):
        return Event(one.number, one.time_ms, one.kind, one.text)
    return Event(
        one.number, one.time_ms, one.kind, one.text, one.round.round, tuple(one.round.answered), dict(one.round.metrics)
    )
