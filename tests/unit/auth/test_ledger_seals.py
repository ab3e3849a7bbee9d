"""Frozen forms of what auth adds to the ledger: sealed bodies, terms, wrapped audit keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.auth import bodies
from services.auth.bodies import AuditKey, wrap_handle
from services.auth.kek import FileProvider
from services.auth.terms import Terms
from tests.unit.ledger.vectors import ours
from twinward.errors import Tampered
from twinward.ledger.entry import Entry, check_body
from twinward.ledger.kinds import Kind


@dataclass
class SetChance:
    """The same bytes every time: for vectors only."""

    value: bytes

    def bytes(self, n: int) -> bytes:
        return (self.value * n)[:n]


def test_sealed_body_vector() -> None:
    vector = ours("sealed.json")
    salted = bytes.fromhex(vector["opened"])
    key = AuditKey(1, bytes.fromhex(vector["audit_key"]))
    place = (vector["site"], vector["index"], vector["kind"])
    assert bodies.associated(*place).hex() == vector["associated"]
    sealed = bodies.seal(key, *place, salted, SetChance(bytes.fromhex(vector["chance"])))
    assert sealed.hex() == vector["sealed"]
    assert bodies.unseal(key, *place, sealed) == salted
    check_body(Entry.decode(bytes.fromhex(vector["entry"])), salted)


@pytest.mark.parametrize(("at", "value"), [(0, "demo-b"), (1, 298), (2, 2)])
def test_a_body_opens_at_its_own_place_only(at: int, value: object) -> None:
    vector = ours("sealed.json")
    place = [vector["site"], vector["index"], vector["kind"]]
    place[at] = value
    site, index, kind = place
    with pytest.raises(Tampered):
        bodies.unseal(
            AuditKey(1, bytes.fromhex(vector["audit_key"])), site, index, kind, bytes.fromhex(vector["sealed"])
        )


def test_term_vectors() -> None:
    vector = ours("terms.json")
    terms = Terms(bytes.fromhex(vector["key"]))
    assert terms.actor(vector["actor"]).hex() == vector["actor_term"]
    assert terms.patient(UUID(vector["patient"])).hex() == vector["patient_term"]
    assert terms.kind(Kind.GRANT).hex() == vector["grant_term"]
    assert terms.named(vector["named"]).hex() == vector["named_term"]
    assert terms.of("ab", b"c") != terms.of("a", b"bc")


def test_wrapped_key_vector(tmp_path: Path) -> None:
    vector = ours("wrapped.json")
    path = tmp_path / "epoch-3"
    path.write_bytes(bytes.fromhex(vector["kek"]))
    path.chmod(0o600)
    provider = FileProvider(tmp_path, vector["site"], SetChance(bytes.fromhex(vector["chance"])))
    handle = wrap_handle((UUID(vector["patient"]), vector["year"]))
    assert handle.hex() == vector["handle"]
    assert provider.wrap(handle, bytes.fromhex(vector["key"])) == (3, bytes.fromhex(vector["wrapped"]))
    # The documented form, without our code: version || nonce || AES-256-GCM.
    wrapped = bytes.fromhex(vector["wrapped"])
    opened = AESGCM(bytes.fromhex(vector["kek"])).decrypt(
        wrapped[1:13], wrapped[13:], bytes.fromhex(vector["associated"])
    )
    assert opened.hex() == vector["key"]
