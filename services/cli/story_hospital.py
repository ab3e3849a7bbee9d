"""A hospital starts, patients arrive, their twins come to life."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

from infra.embedded import control
from infra.embedded.node import Node
from infra.embedded.programs import PROGRAMS
from services.cli.story import Stage
from twinward.clock import utc
from twinward.errors import TwinwardError
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc, twin_pb2, twin_pb2_grpc

NAME = "St. Anne"
DAY_MS = 86_400_000


def starts(stage: Stage) -> None:
    teller = stage.teller
    teller.say(
        f"{NAME} is a hospital on this machine: a real PostgreSQL, its own certificate authority, a sign-in "
        f"service and {len(PROGRAMS) - 1} programs. Each program has its own identity, database role and keys; they "
        "talk over mutual TLS. One of them, auth, is the only one that can unwrap a patient's key, and it releases "
        "none without an entry in a signed ledger."
    )
    set_aside(stage, stage.node)
    stage.run("node", "init", str(stage.node), "--name", NAME)
    share_compiled_kernels(stage, stage.node)
    teller.say("Starting takes some seconds; the very first time the twin's equations are compiled, up to a minute.")
    stage.run("node", "up")
    found = control.status(Node.open(stage.node), stage.clock)
    healthy = [one.name for one in found.programs if one.healthy]
    teller.check(
        found.up and len(healthy) == len(found.programs) and not found.missing,
        f"{len(healthy)} programs are healthy and use {found.memory_bytes / 1e6:.0f} MB together",
        stage.look,
    )


def set_aside(stage: Stage, node: Path) -> None:
    """An earlier story's node may hold what somebody added: it is kept once, beside."""
    if not node.exists():
        return
    if (node / "node.toml").exists():
        control.stop(Node.open(node), stage.clock)
    aside = node.with_name(f"{node.name}-before")
    if aside.exists():
        store = aside / "postgres"
        if store.is_symlink():  # as root the database lies below /var/lib/twinward
            shutil.rmtree(store.resolve(), ignore_errors=True)
        shutil.rmtree(aside)
    node.rename(aside)
    stage.teller.say(f"The {node.name} of an earlier story was stopped and lies in {aside} now.")


def share_compiled_kernels(stage: Stage, node: Path) -> None:
    """Compiled equations outlive one story's node; they hold no data."""
    cache = stage.directory.absolute() / "numba"
    with (node / "node.toml").open("a") as file:
        for program in ("twin", "twin-worker", "sessions"):
            file.write(f"\n[programs.{program}]\nnumba_cache_dir = {json.dumps(str(cache))}\n")


def patients_arrive(stage: Stage) -> None:
    from services.cli.virtual import generate

    teller, files = stage.teller, stage.files
    now = stage.clock.now_ms() // 300_000 * 300_000
    shutil.rmtree(files, ignore_errors=True)
    teller.say(
        f"{stage.patients} people with type 1 diabetes who do not exist: our generator lives {stage.days + 1} days "
        "of their lives and writes what a hospital would send, FHIR R4 bundles and tables of their glucose sensors "
        "and insulin pumps. The diaries are wrong in places, as diaries are."
    )
    generate(files, stage.patients, stage.days + 1, stage.seed, utc(now).isoformat())
    charts = sorted(files.glob("*.json"))
    stage.mrns = [mrn_of(chart) for chart in charts]
    _take_consent_out(charts[-1])
    _keep_the_day_back(files, now - DAY_MS, stage.directory / "day.csv")
    teller.say(
        f"The last of them, {stage.mrns[-1]}, gave no consent. Of the first, {stage.mrns[0]}, the last 24 hours "
        "are kept back: we will live through them in a moment."
    )
    stage.run("ingest", str(files), "--yes-deidentified")
    stub = ingest_pb2_grpc.IngestStub(stage.session("data-steward").channel("ingest"))
    feeds = stub.IngestStatus(ingest_pb2.IngestStatusRequest()).feeds
    accepted = sum(feed.accepted for feed in feeds)
    rows = sum(len(table.read_text().splitlines()) - 1 for table in files.glob("*.csv"))
    teller.check(
        accepted >= rows,
        f"{accepted} items were sealed with keys that ingest itself cannot open, and acknowledged after the commit",
        stage.look,
    )


def mrn_of(chart: Path) -> str:
    entries = json.loads(chart.read_text())["entry"]
    (patient,) = [one["resource"] for one in entries if one["resource"]["resourceType"] == "Patient"]
    return str(patient["identifier"][0]["value"])


def _take_consent_out(chart: Path) -> None:
    bundle = json.loads(chart.read_text())
    bundle["entry"] = [one for one in bundle["entry"] if one["resource"]["resourceType"] != "Consent"]
    chart.write_text(json.dumps(bundle, indent=1) + "\n")


def _keep_the_day_back(files: Path, from_ms: int, day: Path) -> None:
    """Moves the first patient's rows from `from_ms` on into the file `day`."""
    table = files / "patient-0001.csv"
    rows = list(csv.reader(io.StringIO(table.read_text())))
    border = utc(from_ms).strftime("%Y-%m-%dT%H:%M:%SZ")
    for path, chosen in (
        (table, [row for row in rows[1:] if row[0] < border]),
        (day, [row for row in rows[1:] if row[0] >= border]),
    ):
        with path.open("w", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows([rows[0], *chosen])


def twins_start(stage: Stage) -> None:
    teller = stage.teller
    teller.say(
        "A twin needs the patient's explicit permit. Where there is one, the twin's worker asks auth for a lease on "
        "exactly the model's inputs, reads the sealed rows and lets an ensemble of 60 bodies follow them."
    )
    stub = twin_pb2_grpc.TwinStub(stage.session("clinician").channel("twin"))

    def alive() -> int:
        twins = stub.ListTwins(twin_pb2.ListTwinsRequest()).twins
        return sum(one.HasField("glucose") for one in twins)

    expected = stage.patients - 1
    teller.until(lambda: alive() == expected, f"{expected} twins live, each from its own patient's rows", stage.look)
    stage.run("twin", "list")
    teller.say(f"And {stage.mrns[-1]}, who gave no consent?")
    try:
        stage.run("twin", "forecast", "--mrn", stage.mrn(stage.patients))
    except TwinwardError as refusal:
        teller.line(f"  {refusal.public}")
        teller.check(
            refusal.reason in ("UNREADY", "CONSENT_DENIED"),
            "without consent there is no twin, only stored data",
            stage.look,
        )
    else:
        teller.check(False, "a patient without consent has no twin", "do not use this version")
