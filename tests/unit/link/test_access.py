"""A server whose contract does not say who may call does not start."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from tests.site import Site
from twinward.clock import SystemClock
from twinward.errors import Unready
from twinward.link.access import table
from twinward.link.server import serve
from twinward.link.streams import serve_streams
from twinward.wire.v1 import auth_pb2, ingest_pb2, session_pb2, twin_pb2

ENROLMENT = auth_pb2.DESCRIPTOR.services_by_name["Enrolment"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def _service(name: str, option: bytes | None, *, stream: bool = False, both: bool = False) -> Any:
    """A service that no .proto of ours holds; `option` is the serialised Access."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="t", syntax="proto3")
    file.message_type.add(name="M")
    method = file.service.add(name=name).method.add(name="Do", input_type=".t.M", output_type=".t.M")
    method.server_streaming = stream
    method.client_streaming = both
    if option is not None:
        method.options.MergeFromString(_varint(50990 << 3 | 2) + bytes([len(option)]) + option)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName(f"t.{name}")


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes([(number & 0x7F) | 0x80])
        number >>= 7
    return found + bytes([number])


@pytest.mark.parametrize(
    ("name", "option", "stream", "why"),
    [
        ("NoOption", None, False, "no access option"),
        ("Empty", b"", False, "lets nobody in"),
        ("Unknown", b"\x0a\x03fly", False, "no role holds"),
        ("Stream", b"\x22\x04twin", True, "stream"),
        ("Enrolling", b"\x28\x01", False, "wrong listener"),
    ],
)
def test_a_method_without_a_proper_access_option_stops_the_server(
    site: Site, name: str, option: bytes | None, stream: bool, why: str
) -> None:
    served = [(lambda servicer, server: None, object(), _service(name, option, stream=stream))]
    with pytest.raises(Unready, match=why):
        serve(served, site.settings("twin"), site.verifier("twin"))


PERSON = b"\x0a\x0bsession.run"
FLOWS = b"\x40\x01"


@pytest.mark.parametrize(
    ("name", "option", "stream", "both", "why"),
    [
        ("Silent", PERSON, True, True, "do not agree"),  # a stream whose option does not say so
        ("Single", PERSON + FLOWS, False, False, "do not agree"),
        ("OneWay", PERSON + FLOWS, True, False, "both ways"),
        ("Nobodys", b"\x22\x04twin" + FLOWS, True, True, "for people"),
    ],
)
def test_a_stream_without_a_proper_option_stops_its_door(
    site: Site, name: str, option: bytes, stream: bool, both: bool, why: str
) -> None:
    served = [(lambda servicer, server: None, object(), _service(name, option, stream=stream, both=both))]
    with pytest.raises(Unready, match=why):
        serve_streams(served, site.settings("twin"), site.verifier("twin"), SystemClock())


def test_every_rpc_of_the_contract_has_its_access() -> None:
    services = [
        service
        for file in (auth_pb2, ingest_pb2, twin_pb2, session_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
    whole = {
        **table([s for s in services if s is not ENROLMENT], enrolment=False, streams=True),
        **table([ENROLMENT], enrolment=True),
    }
    assert len(whole) == sum(len(service.methods) for service in services)
    assert whole["/twinward.wire.v1.Auth/Grant"].forwarded_by == {"twin"}
