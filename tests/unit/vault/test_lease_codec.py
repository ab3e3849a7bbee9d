"""Leases over the wire: a round trip, and lengths that are refused."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from twinward.errors import BadInput, Malformed
from twinward.vault.lease import Lease, NodeKey, TailKey
from twinward.wire.codec.lease import lease_from_message, lease_to_message
from twinward.wire.v1 import auth_pb2

LEASE = Lease(
    lease_id=bytes(range(16)),
    handle=UUID(int=7),
    until_ms=1795348900000,
    purpose="treatment",
    tags={10: bytes(8), 5: b"12345678"},
    nodes=(NodeKey(10, 1, 2026, 11, False, bytes(32)), NodeKey(10, 2, 2025, 0, True, bytes(32))),
    tails=(TailKey(10, 1, 2026, 11, bytes(96)),),
    manifest_root=bytes(32),
    manifest_previous=b"",
    leaf=12,
    version=2,
    issued_ms=1795348800000,
)


def test_a_lease_comes_back() -> None:
    sent = lease_to_message(LEASE).SerializeToString()
    assert lease_from_message(auth_pb2.Lease.FromString(sent)) == LEASE


def test_keys_are_not_shown() -> None:
    secret = replace(LEASE, nodes=(NodeKey(1, 1, 2026, 1, False, b"sesame-open!" * 2 + bytes(8)),))
    assert "sesame" not in repr(secret)
    assert "sesame" not in repr(TailKey(1, 1, 2026, 1, b"sesame" * 16))


def test_wrong_lengths_are_refused() -> None:
    for field, value in (("lease_id", bytes(15)), ("handle", b""), ("manifest_root", bytes(31)),
                         ("manifest_previous", bytes(1))):  # fmt: skip
        message = lease_to_message(LEASE)
        setattr(message, field, value)
        with pytest.raises(Malformed):
            lease_from_message(message)
    spoilt = [lease_to_message(LEASE) for _ in range(4)]
    spoilt[0].nodes[0].key = bytes(31)
    spoilt[1].tails[0].seed = bytes(95)
    spoilt[2].tags[0].tag = bytes(7)
    spoilt[3].nodes[0].month = 13
    for message in spoilt:
        with pytest.raises(BadInput):
            lease_from_message(message)
