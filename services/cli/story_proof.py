"""What can be proved afterwards: who was given what, that a no is a no, that nothing was changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from services.cli.story import Stage
from twinward.errors import TwinwardError
from twinward.ledger import bundles
from twinward.ledger.note import Verifier
from twinward.ledger.verify import Report, verify
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2

HOUSE = Path(__file__).resolve().parents[2]


def who_was_given_what(stage: Stage) -> None:
    teller = stage.teller
    handle = str(UUID(bytes=stage.handle))
    teller.say(
        "Every key that left auth has an entry in the ledger: who asked, through which program, for what, under "
        "which consent and policy. An auditor reads them, and that reading is an entry too."
    )
    stage.run("--as", "auditor", "audit", "list", "--patient", handle, "--limit", "8")
    stub = auth_pb2_grpc.AuthStub(stage.session("auditor").channel("auth"))
    patient = record_pb2.PatientRef(handle=stage.handle)
    answer = stub.ListEntries(auth_pb2.ListEntriesRequest(patient=patient, kind="grant", page_size=500))
    bodies = {entry.index: json.loads(entry.body) for entry in answer.entries if entry.body}
    named = [bodies[leaf] for leaf in stage.leaves if leaf in bodies]
    teller.check(
        len(named) == len(stage.leaves) > 0 and all(body["decision"] == "permit" for body in named),
        f"each of the {len(stage.leaves)} forecasts of the day has its entry",
        "do not use this version",
    )


def consent_withdrawn(stage: Stage) -> None:
    teller = stage.teller
    teller.say(
        f"{stage.mrns[0]} changes their mind. The data steward withdraws the consent: leases end at once, keys of the "
        "worker are dropped, and the patient's key version rises, so that nothing written later opens with old keys."
    )
    stage.run("consent", "withdraw", "--mrn", stage.mrn(1), "--reason", "the patient asked")
    teller.say("The clinician asks once more:")
    try:
        stage.run("twin", "forecast", "--mrn", stage.mrn(1))
    except TwinwardError as refusal:
        teller.line(f"  {refusal.public}")
        teller.check(refusal.reason == "CONSENT_DENIED", "the next read is refused", "do not use this version")
    else:
        teller.check(False, "after the withdrawal nothing more is read", "do not use this version")


def promises_hold(stage: Stage) -> None:
    teller = stage.teller
    if not (HOUSE / "tests" / "invariants.py").exists():
        teller.say("The checker of the promises comes with the sources, not with the package; this act is left out.")
        return
    teller.say(
        "A checker that is no part of the programs opens the whole store with the node's own keys and counts what is "
        "really there."
    )
    teller.typed(f"python -m tests.invariants {stage.node}")
    done = subprocess.run(  # noqa: S603  our own checker
        [sys.executable, "-m", "tests.invariants", str(stage.node.absolute())],
        cwd=HOUSE, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        teller.line(f"  {line}")
    teller.check(done.returncode == 0, "every promise holds", f"{stage.look}; {done.stderr[-300:]}")


def ledger_elsewhere(stage: Stage) -> None:
    teller, copy = stage.teller, stage.directory / "auditor"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(stage.node / "ledger", copy / "ledger", ignore=shutil.ignore_patterns("lock"))
    key = copy / "ledger.vkey"
    shutil.copy(stage.node / "pki" / "ledger.vkey", key)
    teller.say(
        "The ledger is files. An auditor takes a copy home, with the key that the hospital published, and verifies it "
        "there: no node, no network, no database."
    )
    _verify(stage, copy / "ledger", key)
    report = verified(copy / "ledger", key)
    teller.check(report.ok and report.size > max(stage.leaves), f"{report.size} entries are whole", stage.look)

    forged = copy / "forged"
    shutil.copytree(copy / "ledger", forged)
    chosen = stage.leaves[len(stage.leaves) // 2]
    _forge(forged / "bundles", chosen)
    teller.say(
        f"And if somebody changes one bit of one entry in another copy, of number {chosen}, a forecast of the day?"
    )
    _verify(stage, forged, key)
    found = verified(forged, key)
    named = any(one.first is not None and one.first <= chosen < (one.end or one.first + 1) for one in found.findings)
    teller.check(not found.ok and named, f"the change is found, and entry {chosen} is named", "do not use this version")


def _verify(stage: Stage, folder: Path, key: Path) -> None:
    from services.cli.__main__ import twinward

    arguments = ["audit", "verify", str(folder), "--vkey", str(key)]
    stage.teller.typed("twinward " + " ".join(arguments))
    with suppress(SystemExit):  # 1: something is wrong, and it has been said; the check that follows judges
        twinward.main(arguments, prog_name="twinward", standalone_mode=False)


def verified(folder: Path, key: Path) -> Report:
    """What an auditor finds in a copy of a ledger."""
    return verify(folder, Verifier.decode(key.read_text()))


def _forge(folder: Path, index: int) -> None:
    """Flips one bit in the bytes of entry `index`."""
    for path in bundles.files(folder):
        data = bytearray(path.read_bytes())
        for found in bundles.frames(bytes(data)):
            if isinstance(found, bundles.Torn):
                break
            at, frame = found
            if frame.first <= index < frame.size:
                place = data.index(frame.entries[index - frame.first], at)
                data[place + len(frame.entries[index - frame.first]) - 1] ^= 1
                path.write_bytes(data)
                return
