"""Sending to the ingest door: patience, what became of everything, and how that is shown."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import click
import grpc
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.cli.mapping_file import Declared
from services.cli.output import Options
from twinward.clock import Chance
from twinward.errors import BadInput, Busy, Unavailable
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc

STEWARD = "data-steward"
RESULTS = ("stored", "corrected", "duplicate", "intake", "quarantined", "dropped", "rejected")
TRIES = 9  # about two minutes of a door that does not answer
DEADLINE_S = 60.0
QUESTION = (
    "A demo node takes synthetic or published de-identified data only.\n"
    "Are these files synthetic or de-identified, so that nobody in them can be told?"
)


def bar(options: Options) -> Progress:
    """The progress bar of an import: tasks have `total` in bytes and a field `entries`."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TextColumn("{task.fields[entries]:,} entries"), TimeRemainingColumn())  # fmt: skip
    return Progress(*columns, console=options.out.errors, disable=options.out.as_json, transient=True)


def asked(options: Options) -> bool:
    """In profile demo somebody has to declare it; elsewhere nothing is declared."""
    from infra.embedded.node import Node

    if Node.open(options.node).profile != "demo":
        return False
    if not options.out.console.is_terminal or options.out.as_json:
        raise BadInput("a demo node takes de-identified data only: say --yes-deidentified if these files are")
    if not click.confirm(QUESTION):
        raise BadInput("nothing was sent: identifiable data need a node of another profile")
    return True


@dataclass
class Total:
    """What became of everything sent."""

    messages: int = 0
    values: int = 0
    flagged: int = 0
    skipped: int = 0  # messages that an earlier, interrupted run had sent
    refused: dict[str, str] = field(default_factory=dict)  # file name -> why nothing of it could be sent
    types: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    def add(self, answer: ingest_pb2.PutResponse) -> None:
        self.messages += 1
        self.values += answer.observations
        self.flagged += answer.flagged
        for one in answer.types:
            self.types.setdefault(one.resource, Counter()).update(one.counts)
        for reason in answer.reasons:
            self.reasons[(reason.resource, reason.result, reason.reason, reason.detail)] += reason.count

    @property
    def counts(self) -> Counter[str]:
        return sum(self.types.values(), Counter())


@dataclass(frozen=True, slots=True)
class Door:
    """Calls of the ingest door, patient with one that is busy or away."""

    channel: grpc.Channel
    feed: str
    deidentified: bool
    chance: Chance

    def fhir(self, payload: bytes) -> ingest_pb2.PutResponse:
        request = ingest_pb2.PutFhirRequest(feed=self.feed, payload=payload, deidentified=self.deidentified)
        stub = ingest_pb2_grpc.IngestStub(self.channel)
        return self._patiently(lambda: stub.PutFhir(request, timeout=DEADLINE_S))

    def series(self, csv: bytes, said: Declared) -> ingest_pb2.PutResponse:
        request = ingest_pb2.PutSeriesRequest(
            feed=self.feed, patient=said.patient, mapping=said.mapping, csv=csv, deidentified=self.deidentified
        )
        stub = ingest_pb2_grpc.IngestStub(self.channel)
        return self._patiently(lambda: stub.PutSeries(request, timeout=DEADLINE_S))

    def _patiently(self, call: Callable[[], ingest_pb2.PutResponse]) -> ingest_pb2.PutResponse:
        for attempt in range(TRIES):
            try:
                return call()
            except (Busy, Unavailable):
                if attempt == TRIES - 1:
                    raise
                pause = min(0.25 * 2**attempt, 30.0) * (0.75 + self.chance.bytes(1)[0] / 512)
                threading.Event().wait(pause)
        raise Unavailable("the ingest door does not answer")


def show(options: Options, total: Total, more: Mapping[str, object] | None = None) -> None:
    """The summary: every entry that was sent, once, by type and by what became of it; `more` goes into --json."""
    data = {
        "messages": total.messages,
        "skipped_messages": total.skipped,
        "entries": sum(total.counts.values()),
        "counts": {result: total.counts.get(result, 0) for result in RESULTS},
        "refused_files": total.refused,
        "values": total.values,
        "flagged": total.flagged,
        "types": {kind: dict(counts) for kind, counts in sorted(total.types.items())},
        "reasons": [
            {"resource": resource, "result": result, "reason": reason, "detail": detail, "count": count}
            for (resource, result, reason, detail), count in total.reasons.most_common()
        ],
        **(more or {}),
    }
    options.out.show(data, lambda: _summary(total))
    if total.reasons and not options.out.as_json:
        options.out.show(data, lambda: _problems(total))
    for name, why in sorted(total.refused.items()):
        options.out.warn(f"{name}: {why}")
    if total.counts.get("intake"):
        options.out.say("Items in intake are kept sealed and filed by themselves: twinward ingest status")


def _summary(total: Total) -> Table:
    table = Table(title="Entries sent and what became of them", title_justify="left")
    table.add_column("type")
    used = [result for result in RESULTS if total.counts.get(result)]
    for name in ("in", *used):
        table.add_column(name, justify="right")
    for kind, counts in sorted(total.types.items()):
        table.add_row(kind, f"{sum(counts.values()):,}", *(f"{counts.get(result, 0):,}" for result in used))
    table.add_section()
    table.add_row("all", f"{sum(total.counts.values()):,}", *(f"{total.counts[result]:,}" for result in used))
    table.caption = f"{total.values:,} values written, {total.flagged:,} of them with a quality mark"
    if total.skipped:
        table.caption += f"; {total.skipped:,} messages were sent by an earlier run"
    return table


def _problems(total: Total) -> Table:
    """By what became of it and why; the types together."""
    counts: Counter[tuple[str, str, str]] = Counter()
    kinds: dict[tuple[str, str, str], set[str]] = {}
    for (resource, result, reason, detail), count in total.reasons.items():
        counts[(result, reason, detail)] += count
        kinds.setdefault((result, reason, detail), set()).add(resource)
    table = Table(title="Not simply stored", title_justify="left", show_lines=True)
    table.add_column("entries", justify="right")
    table.add_column("what became of them, and why")
    table.add_column("types")
    for key, count in counts.most_common():
        result, reason, detail = key
        table.add_row(f"{count:,}", f"{result}: {reason}\n{detail}", ", ".join(sorted(kinds[key])))
    return table
