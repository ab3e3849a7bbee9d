"""A twin's state opens only where and as what it was sealed."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vault.store import SeededChance
from tests.unit.vault.vectors import DEK, HANDLE, SITE
from twinward.errors import Denied, Tampered
from twinward.record import Category
from twinward.vault import snapshots
from twinward.vault.keytree import Node, node_key
from twinward.vault.lease import Lease, NodeKey
from twinward.vault.snapshots import Place

PLACE = Place(HANDLE, 202611, 1, 12, 1795348800000)


def lease(category: int = Category.MODEL_STATE, month: int = 11) -> Lease:
    node = Node(2026, month, False)
    key = NodeKey(category, 1, 2026, month, False, node_key(DEK, category, 1, node))
    return Lease(
        lease_id=bytes(16), handle=HANDLE, until_ms=0, purpose="upkeep", tags={category: bytes(8)}, nodes=(key,),
        tails=(), manifest_root=b"", manifest_previous=b"", leaf=0, version=1,
    )  # fmt: skip


@given(st.binary(max_size=40_000))
def test_a_state_comes_back(state: bytes) -> None:
    sealed = snapshots.seal(lease(), SITE, PLACE, state, SeededChance(1))
    assert snapshots.open_sealed(lease(), SITE, PLACE, sealed) == state


def test_another_place_does_not_open_it() -> None:
    sealed = snapshots.seal(lease(), SITE, PLACE, b"state", SeededChance(2))
    for other in (replace(PLACE, handle=UUID(int=1)), replace(PLACE, seq=13), replace(PLACE, state_ms=1)):
        with pytest.raises(Tampered):
            snapshots.open_sealed(lease(), SITE, other, sealed)
    with pytest.raises(Tampered):
        snapshots.open_sealed(lease(), "st-annex-demo", PLACE, sealed)
    for at in range(len(sealed)):
        with pytest.raises(Tampered):
            snapshots.open_sealed(lease(), SITE, PLACE, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])


def test_another_lease_has_no_key_for_it() -> None:
    sealed = snapshots.seal(lease(), SITE, PLACE, b"state", SeededChance(3))
    for other in (lease(month=10), lease(Category.DEVICES)):
        with pytest.raises(Denied):
            snapshots.open_sealed(other, SITE, PLACE, sealed)
    with pytest.raises(Denied):
        snapshots.open_sealed(lease(), SITE, replace(PLACE, version=2), sealed)
