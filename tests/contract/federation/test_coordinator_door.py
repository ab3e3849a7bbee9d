"""The coordinator's doors: who gets in where, and a study from its file to its result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from services.federation.joining import TokenUsed
from services.federation.study import from_canonical
from tests.contract.federation.conftest import BUNDLE, Guest, Place
from twinward.errors import Denied, TwinwardError, Unauthenticated
from twinward.link.access import table
from twinward.link.permissions import ROLES
from twinward.wire.v1 import federation_pb2 as pb

SERVICES = pb.DESCRIPTOR.services_by_name
PEOPLE = list(SERVICES["Coordinator"].methods)
HOSPITALS = list(SERVICES["Sites"].methods)
JOINING = list(SERVICES["Joining"].methods)
ACCESS = table([SERVICES["Coordinator"], SERVICES["Sites"]], enrolment=False)
FILE = """
title = "Age and the heart"
question = "How does the chance of ischaemic heart disease grow with age?"
purpose = "research"
recipe = "logistic"
rounds = 12
minimum_sites = 2
test_fraction = 0.3
[settings]
method = "irls"
[[columns]]
name = "age"
code = "patient|age"
[outcome]
name = "ill"
code = "condition|snomed|53741008"
"""


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def call(opened: Any, method: MethodDescriptor) -> Any:
    """The method with an empty request."""
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    made = opened.unary_unary(
        path(method), request_serializer=request.SerializeToString, response_deserializer=answer.FromString
    )
    return made(request(), timeout=20)


@pytest.fixture(scope="module")
def guests(place: Place) -> list[Guest]:
    return [place.join(place.invite(site), site) for site in ("st-anne.demo", "st-bernard.demo", "st-clara.demo")]


@pytest.mark.parametrize("method", PEOPLE, ids=path)
def test_people_need_the_permission(place: Place, guests: list[Guest], method: MethodDescriptor) -> None:
    permission = ACCESS[path(method)].permission
    role = next(role for role in ROLES if permission not in ROLES[role])
    place.person(role)
    token = place.auth.token(role)
    with pytest.raises(Denied):
        call(place.connect(place.auth.identities[role], token), method)
    with pytest.raises(Unauthenticated):  # no token
        call(place.connect(place.auth.identities[role]), method)
    with pytest.raises(Unauthenticated):  # a hospital is nobody here
        call(guests[0].door, method)


@pytest.mark.parametrize("method", HOSPITALS, ids=path)
def test_hospitals_doors_are_for_hospitals(place: Place, method: MethodDescriptor) -> None:
    place.person("site-admin")
    token = place.auth.token("site-admin")
    with pytest.raises(Unauthenticated):
        call(place.connect(place.auth.identities["site-admin"], token), method)
    settings = place.auth.site.settings("twin")
    program = (settings.key_file.read_bytes(), settings.certificate_file.read_bytes())
    with pytest.raises(Unauthenticated):
        call(place.connect(program, place.auth.site.service_token("twin")), method)


def test_each_listener_offers_its_own_methods_alone(place: Place, guests: list[Guest]) -> None:
    for method in (*PEOPLE, *HOSPITALS):
        with pytest.raises(TwinwardError):
            call(place.connect(None, address=place.join_address), method)
    with pytest.raises(TwinwardError):
        call(guests[0].door, JOINING[0])


def test_joining_needs_a_token_and_each_works_once(place: Place) -> None:
    token = place.invite("st-once.demo")
    place.join(token, "st-once.demo").sync()
    with pytest.raises(TwinwardError) as refused:
        place.join(token, "st-once.demo")
    assert refused.value.reason == TokenUsed.reason
    with pytest.raises(Denied):
        call(place.connect(None, address=place.join_address), JOINING[0])


def test_a_certificate_is_renewed_over_the_door(place: Place) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from tests.unit.federation.papers import request

    guest = place.join(place.invite("st-renew.demo"), "st-renew.demo")
    private = ec.generate_private_key(ec.SECP256R1())
    found = guest.stub.RenewCertificate(pb.RenewCertificateRequest(signing_request=request(private=private)))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Guest(guest.site, (pem, found.certificate_chain), place.connect((pem, found.certificate_chain))).sync()
    guest.sync()  # the one before: its answer may have got lost
    guest.stub.Leave(pb.LeaveRequest())
    with pytest.raises(Unauthenticated):
        guest.sync()


def test_a_removed_hospitals_certificate_is_refused_on_its_open_connection(place: Place) -> None:
    guest = place.join(place.invite("st-gone.demo"), "st-gone.demo")
    guest.sync()
    admin = place.person("site-admin")
    admin.RemoveSite(pb.RemoveSiteRequest(site=guest.site, reason="its contract ended"))
    for method in HOSPITALS:
        with pytest.raises(Unauthenticated):
            call(guest.door, method)
    states = {one.site: one.state for one in admin.ListSites(pb.ListSitesRequest()).sites}
    assert states["st-gone.demo"] == "removed"


def test_a_study_goes_from_its_file_to_its_result(place: Place, guests: list[Guest]) -> None:
    researcher = place.person("researcher")
    checked = researcher.CheckStudy(pb.CheckStudyRequest(file=FILE.encode()))
    assert list(checked.problems) == []
    submitted = researcher.SubmitStudy(pb.SubmitStudyRequest(file=FILE.encode()))
    study = submitted.study
    assert study == checked.study
    with pytest.raises(TwinwardError, match="0 of at least 2"):
        researcher.RunStudy(pb.RunStudyRequest(study=study))
    for leaf, guest in enumerate(guests):
        [offered] = [one for one in guest.sync().studies if one.study == study]
        assert offered.bundle == BUNDLE
        assert from_canonical(offered.canonical).author == "researcher"
        until = 4_000_000_000_000
        said = {"study": study, "decision": "approve", "decided_ms": 1, "expires_ms": until, "leaf": leaf + 10}
        assert guest.sync([said]).acknowledged == [study]
    run = researcher.RunStudy(pb.RunStudyRequest(study=study))
    assert list(run.sites) == [guest.site for guest in guests]
    events: list[pb.StudyEvent] = []
    state = ""
    while state not in ("done", "stopped", "failed"):
        for guest in guests:
            guest.sync()
        after = events[-1].number if events else 0
        found = researcher.WatchStudy(pb.WatchStudyRequest(study=study[:8], after=after, wait_ms=500), timeout=10)
        events += found.events
        state = found.state
    events += researcher.WatchStudy(pb.WatchStudyRequest(study=study, after=events[-1].number)).events
    assert state == "done", researcher.ShowStudy(pb.ShowStudyRequest(study=study)).summary.note
    assert [one.number for one in events] == list(range(1, len(events) + 1))
    rounds = [one.round.round for one in events if one.kind == "round"]
    assert rounds == list(range(1, len(rounds) + 1))
    assert events[-1].kind == "done"
    result = researcher.StudyResults(pb.StudyResultsRequest(study=study))
    model, card = json.loads(result.model), json.loads(result.card)
    assert model["finished"]
    assert {one["site"]: one["leaf"] for one in card["sites"]} == {
        guest.site: leaf + 10 for leaf, guest in enumerate(guests)
    }
    assert result.report.startswith(b"<!doctype html>") or b"<html" in result.report[:200]
    shown = researcher.ShowStudy(pb.ShowStudyRequest(study=study))
    assert len(shown.rounds) == len(rounds)
    assert {one.decision for one in shown.summary.answers if one.site in list(run.sites)} == {"approve"}
    _the_ledger_has_it(place, study, len(rounds))


def _the_ledger_has_it(place: Place, study: bytes, rounds: int) -> None:
    """Submission, run, each round and the end: entries of the coordinator's own ledger, written by a real auth."""
    import time

    until = time.monotonic() + 30
    while True:  # the end's entry is written a moment after the end
        with place.engine.database.connect("coordinator") as connection:
            row = connection.execute(
                "select leaf, run_leaf, end_leaf from fed.study where hash = %s", (study,)
            ).fetchone()
            leaves = connection.execute(
                "select round.leaf from fed.round round join fed.study study on study.number = round.study"
                " where hash = %s order by round.number",
                (study,),
            ).fetchall()
        assert row is not None
        if row[2] is not None or time.monotonic() > until:
            break
        time.sleep(0.05)
    order = [row[0], row[1], *(leaf for (leaf,) in leaves), row[2]]
    assert len(leaves) == rounds
    assert None not in order
    assert order == sorted(order)
