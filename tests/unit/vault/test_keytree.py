"""Released nodes open exactly the decided months, and are the fewest that do."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vault.vectors import DEK
from twinward.errors import BadInput, Denied
from twinward.vault import keytree
from twinward.vault.keytree import Node, Period, covering_nodes, month_key, months_between, node_key
from twinward.vault.lease import Lease, NodeKey

MONTHS = st.builds(lambda year, month: year * 100 + month, st.integers(1998, 2032), st.integers(1, 12))
NOWS = st.builds(lambda year, month: datetime(year, month, 3, tzinfo=UTC), st.integers(2000, 2030), st.integers(1, 12))
WORLD = (0, *months_between(199701, 203312))


@given(MONTHS, MONTHS, st.booleans(), NOWS)
def test_nodes_cover_exactly_the_period(first: int, last: int, undated: bool, now: datetime) -> None:
    nodes = covering_nodes(Period(first, last, undated), int(now.timestamp() * 1000))
    wanted = {month for month in WORLD if (first <= month <= last) or (undated and month == 0)}
    opened = [month for month in WORLD for node in nodes if node.covers(month)]
    assert sorted(opened) == sorted(wanted)  # each once: no two nodes overlap
    assert not any(node.whole_year and node.year >= now.year for node in nodes)
    whole = [year for year in range(1998, 2033) if first <= year * 100 + 1 and year * 100 + 12 <= last]
    years = len([year for year in whole if year < now.year])
    assert len(nodes) == len(wanted) - 11 * years  # fewest: every past whole year is one node


@given(MONTHS, MONTHS, st.booleans(), NOWS, st.sampled_from(WORLD))
def test_a_lease_opens_exactly_the_decided_months(
    first: int, last: int, undated: bool, now: datetime, month: int
) -> None:
    nodes = covering_nodes(Period(first, last, undated), int(now.timestamp() * 1000))
    lease = Lease(
        lease_id=bytes(16), handle=UUID(int=1), until_ms=0, purpose="treatment", tags={10: bytes(8)},
        nodes=tuple(NodeKey(10, 1, n.year, n.month, n.whole_year, node_key(DEK, 10, 1, n)) for n in nodes),
        tails=(), manifest_root=b"", manifest_previous=b"", leaf=0, version=1,
    )  # fmt: skip
    decided = first <= month <= last or (undated and month == 0)
    if decided:
        assert lease.key_of_month(10, 1, month) == node_key(DEK, 10, 1, Node(month // 100, month % 100, False))
    else:
        with pytest.raises(Denied):
            lease.key_of_month(10, 1, month)
    for category, version in ((10, 2), (5, 1)):
        with pytest.raises(Denied):
            lease.key_of_month(category, version, month)


def test_a_month_is_derived_from_its_year_and_no_two_keys_are_alike() -> None:
    year = node_key(DEK, 10, 1, Node(2025, 0, True))
    assert month_key(year, 3) == node_key(DEK, 10, 1, Node(2025, 3, False))
    keys = [
        node_key(DEK, category, version, Node(year, month, False))
        for category in (1, 10) for version in (1, 2) for year in (2024, 2025) for month in (1, 12)
    ]  # fmt: skip
    keys += [node_key(DEK, 10, 1, Node(0, 0, False)), year]
    assert len(set(keys)) == len(keys)


def test_an_empty_period_has_no_nodes() -> None:
    assert covering_nodes(Period(202602, 202601, undated=False), 0) == ()


@pytest.mark.parametrize("bad", [(202613, 202701), (202600, 202601), (0, 202601), (202601, 1_000_000)])
def test_what_is_no_month_is_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(BadInput):
        Period(*bad, undated=False)


@pytest.mark.parametrize(
    "bad", [(0, 1, False), (2026, 0, False), (2026, 1, True), (2026, 13, False), (10000, 1, False)]
)
def test_what_is_no_node_is_refused(bad: tuple[int, int, bool]) -> None:
    with pytest.raises(BadInput):
        Node(*bad)


def test_tail_keys_have_no_pseudo_period_and_keys_a_length() -> None:
    with pytest.raises(BadInput):
        keytree.tail_seed(DEK, 10, 1, 0)
    with pytest.raises(BadInput):
        node_key(DEK[:16], 10, 1, Node(2026, 1, False))
    for category, version in ((0, 1), (65536, 1), (10, 0)):
        with pytest.raises(BadInput):
            node_key(DEK, category, version, Node(2026, 1, False))
