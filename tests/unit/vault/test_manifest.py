"""Heads, groups and what a compactor that died half-way leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from twinward.errors import BadInput, Incomplete, Tampered
from twinward.vault import manifest
from twinward.vault.manifest import FIRST_CHAIN, BucketManifest, Group, Head, Resealed

HANDLE = UUID(int=5)
BUCKETS = st.builds(
    BucketManifest,
    tag=st.sampled_from([b"tag-one-", b"tag-two-"]),
    version=st.integers(1, 2),
    bucket=st.sampled_from([0, 20251100, 20261100, 20261122]),
    blocks=st.integers(1, 3),
    n=st.integers(1, 900),
    commitments=st.binary(min_size=32, max_size=32),
)
CHANGES = st.lists(BUCKETS, min_size=1, max_size=3, unique_by=lambda b: (b.tag, b.version, b.bucket))
RUNS = st.lists(st.tuples(CHANGES, st.booleans()), max_size=6)


class Books:
    """What auth and the database hold."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.groups: dict[Group, bytes] = {}
        self.committed: dict[tuple[bytes, int, int], BucketManifest] = {}
        self.seq = 1

    def seal(self, changes: Sequence[BucketManifest]) -> Resealed:
        self.seq += 1
        return manifest.reseal(
            self.head, self.groups, self.committed.values(), changes, site="s", handle=HANDLE, next_seq=self.seq,
            chain=FIRST_CHAIN, at_ms=self.seq,
        )  # fmt: skip

    def store(self, resealed: Resealed) -> None:
        self.head = resealed.head
        self.groups.update(resealed.changed)
        for group in resealed.gone:
            del self.groups[group]

    def commit(self, changes: Sequence[BucketManifest]) -> None:
        self.committed.update({(one.tag, one.version, one.bucket): one for one in changes})

    def root(self) -> bytes:
        return manifest.handle_root(HANDLE, manifest.group_roots(HANDLE, self.committed.values()))


@given(RUNS)
def test_a_head_always_names_the_truth_whoever_died(runs: list[tuple[list[BucketManifest], bool]]) -> None:
    books = Books()
    for changes, survives in runs:
        truth = books.root()
        books.store(books.seal(changes))
        assert books.head is not None
        assert books.head.previous == truth
        if survives:
            books.commit(changes)
            assert books.head.root == books.root()
        # A reader of any group finds the truth, whatever stale groups a death left.
        every = list(books.committed.values())
        for group in {one.group for one in every} | books.groups.keys():
            touched = {group: [one for one in every if one.group == group]}
            accepted = {books.head.root, books.head.previous}
            found = manifest.committed_groups(HANDLE, accepted, books.groups, touched, books.committed.values)
            assert manifest.handle_root(HANDLE, found) in (books.head.root, books.head.previous)


@given(st.lists(BUCKETS, min_size=2, max_size=6, unique_by=lambda b: (b.tag, b.version, b.bucket)), st.data())
def test_anything_missing_or_changed_is_noticed(stored: list[BucketManifest], data: st.DataObject) -> None:
    books = Books()
    books.store(books.seal(stored))
    books.commit(stored)
    victim = data.draw(st.sampled_from(stored))
    place = (victim.tag, victim.version, victim.bucket)
    for changed in (None, replace(victim, n=victim.n + 1), replace(victim, blocks=victim.blocks + 1),
                    replace(victim, commitments=bytes(31) + b"\7")):  # fmt: skip
        if changed is None:
            books.committed.pop(place)
        elif changed == victim:
            continue
        else:
            books.committed[place] = changed
        with pytest.raises(Incomplete):
            books.seal([replace(victim, n=7000)])
        books.committed[place] = victim


def test_a_head_is_bound_to_all_it_says() -> None:
    authority = Ed25519PrivateKey.from_private_bytes(bytes(32))
    head = Head(site="s", handle=HANDLE, root=bytes(32), previous=b"", next_seq=4, chain=FIRST_CHAIN, at_ms=9)
    signature = manifest.sign_head(authority, head)
    manifest.verify_head(authority.public_key(), head, signature)
    others = [
        replace(head, site="t"), replace(head, handle=UUID(int=6)), replace(head, root=bytes([1] * 32)),
        replace(head, previous=bytes(32)), replace(head, next_seq=5), replace(head, chain=bytes([1] * 32)),
        replace(head, at_ms=10), replace(head, root=b"", previous=bytes(32)),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(Tampered):
            manifest.verify_head(authority.public_key(), other, signature)
    with pytest.raises(Tampered):
        manifest.verify_head(authority.public_key(), head, b"")


def test_the_place_in_the_tail_never_goes_back() -> None:
    books = Books()
    one = BucketManifest(bytes(8), 1, 20261100, 1, 1, bytes(32))
    books.store(books.seal([one]))
    books.commit([one])
    books.seq = 0
    with pytest.raises(BadInput):
        books.seal([one])
