"""What must be there: manifests of buckets, their roots, and the head that auth signs.

    bucket manifest ── group root per (tag, version, year) ── handle root ── signed head

A reader that holds the root of its grant notices a deleted, exchanged or replayed
block. Auth seals the next root *before* the compactor commits, and keeps the one
before it valid, because a compactor can die in between: `previous` is always the
root of what was really committed when the head was made.

Everything here is pure; auth loads rows of `vault.manifest`, `manifest_group` and
`manifest_head`, calls `reseal` and writes what it returns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from twinward.errors import BadInput, Incomplete
from twinward.record import Handle
from twinward.vault import publickeys

LABEL_BUCKET = b"twinward/manifest-bucket/1\x00"
LABEL_GROUP = b"twinward/manifest-group/1\x00"
LABEL_HANDLE = b"twinward/manifest-handle/1\x00"
LABEL_HEAD = b"twinward/manifest-head/1\x00"

EMPTY_ROOT = b""  # of a patient that has no block yet
FIRST_CHAIN = bytes(32)  # patient_state.chain before the first row

_WRONG = "stored records of this patient do not match their manifest; something is missing or was put back"


@dataclass(frozen=True, slots=True, order=True)
class BucketManifest:
    """What is stored of one bucket."""

    tag: bytes
    version: int
    bucket: int
    blocks: int
    n: int  # true count of what the blocks hold
    commitments: bytes  # `commitments_hash` of the blocks in order of seq

    @property
    def group(self) -> Group:
        return Group(self.tag, self.version, self.bucket // 10000)

    def hash(self) -> bytes:
        """SHA-256(label || 8 tag || u32 version || u32 bucket || u32 blocks || u64 n || 32 commitments)."""
        if len(self.tag) != 8 or len(self.commitments) != 32:
            raise BadInput("a manifest names an 8-byte tag and a 32-byte hash of commitments")
        try:
            return hashlib.sha256(
                LABEL_BUCKET
                + self.tag
                + self.version.to_bytes(4, "big")
                + self.bucket.to_bytes(4, "big")
                + self.blocks.to_bytes(4, "big")
                + self.n.to_bytes(8, "big")
                + self.commitments
            ).digest()
        except OverflowError:
            raise BadInput("a number in a manifest is out of range") from None


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Buckets that are hashed together: one tag, key version and year (0: undated)."""

    tag: bytes
    version: int
    year: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What auth vouches for: the root of all buckets and the place in the tail."""

    site: str
    handle: Handle
    root: bytes  # of what the compactor is about to commit; 32 bytes, or empty
    previous: bytes  # of what was committed when this head was made
    next_seq: int  # tail rows below are in blocks or were
    chain: bytes  # over tail rows below next_seq
    at_ms: int

    def encode(self) -> bytes:
        """label || u16 length, site || handle || u8 length, root || u8 length, previous || u64 next_seq ||
        32 chain || u64 at, ms."""
        site = self.site.encode()
        if len(self.chain) != 32 or any(len(root) not in (0, 32) for root in (self.root, self.previous)):
            raise BadInput("roots and chains have 32 bytes")
        return b"".join(
            (
                LABEL_HEAD,
                len(site).to_bytes(2, "big"),
                site,
                self.handle.bytes,
                bytes((len(self.root),)),
                self.root,
                bytes((len(self.previous),)),
                self.previous,
                self.next_seq.to_bytes(8, "big"),
                self.chain,
                self.at_ms.to_bytes(8, "big"),
            )
        )


@dataclass(frozen=True, slots=True)
class Resealed:
    """What auth writes in one transaction with its leaf."""

    head: Head
    changed: Mapping[Group, bytes]  # upsert into vault.manifest_group
    gone: frozenset[Group]  # delete from vault.manifest_group


def commitments_hash(commitments: Iterable[bytes]) -> bytes:
    """SHA-256 over the 32-byte commitments of a bucket's blocks, in order of seq."""
    return hashlib.sha256(b"".join(commitments)).digest()


def group_root(handle: Handle, group: Group, buckets: Iterable[BucketManifest]) -> bytes:
    """SHA-256(label || handle || 8 tag || u32 version || u16 year || bucket hashes by bucket)."""
    ordered = sorted(buckets, key=lambda one: one.bucket)
    start = LABEL_GROUP + handle.bytes + group.tag + group.version.to_bytes(4, "big") + group.year.to_bytes(2, "big")
    return hashlib.sha256(start + b"".join(one.hash() for one in ordered)).digest()


def group_roots(handle: Handle, buckets: Iterable[BucketManifest]) -> dict[Group, bytes]:
    """Group -> root of everything in `buckets`."""
    members: dict[Group, list[BucketManifest]] = {}
    for one in buckets:
        members.setdefault(one.group, []).append(one)
    return {group: group_root(handle, group, inside) for group, inside in members.items()}


def handle_root(handle: Handle, groups: Mapping[Group, bytes]) -> bytes:
    """SHA-256(label || handle || (8 tag || u32 version || u16 year || 32 root) by tag, version, year); empty
    where there is no group."""
    if not groups:
        return EMPTY_ROOT
    parts = [
        group.tag + group.version.to_bytes(4, "big") + group.year.to_bytes(2, "big") + root
        for group, root in sorted(groups.items())
    ]
    return hashlib.sha256(LABEL_HANDLE + handle.bytes + b"".join(parts)).digest()


def sign_head(authority: Ed25519PrivateKey, head: Head) -> bytes:
    """64 bytes for `manifest_head.mac`: anybody with the site's authority key can check it."""
    return authority.sign(head.encode())


def verify_head(authority: Ed25519PublicKey, head: Head, signature: bytes) -> None:
    """Raises Tampered unless the authority signed exactly this head."""
    publickeys.verify(
        authority, signature, head.encode(), "a patient's manifest is not signed by this site's authority"
    )


def committed_groups(
    handle: Handle,
    accepted: Iterable[bytes],
    groups: Mapping[Group, bytes],
    touched: Mapping[Group, Sequence[BucketManifest]],
    everything: Callable[[], Iterable[BucketManifest]],
) -> dict[Group, bytes]:
    """Group roots in which those of `touched` are the committed ones, checked against the accepted handle roots.

    For readers: of other groups it may name what a run that has not committed left in the table.

    Args:
        groups: rows of `vault.manifest_group`, which may be ahead of a compactor that died.
        touched: committed `vault.manifest` rows of the groups that are looked at now, each
            group present even where it has no row.
        everything: all committed `vault.manifest` rows, asked for only where the short way fails.

    Raises:
        Incomplete: neither way gives an accepted root.
    """
    wanted = set(accepted)
    short = dict(groups)
    for group, members in touched.items():
        short.pop(group, None)
        if members:
            short[group] = group_root(handle, group, members)
    if handle_root(handle, short) in wanted:
        return short
    full = group_roots(handle, everything())
    if handle_root(handle, full) in wanted and all(full.get(group) == short.get(group) for group in touched):
        return full
    raise Incomplete(_WRONG)


def reseal(
    head: Head | None,
    groups: Mapping[Group, bytes],
    committed: Iterable[BucketManifest],
    changes: Sequence[BucketManifest],
    *,
    site: str,
    handle: Handle,
    next_seq: int,
    chain: bytes,
    at_ms: int,
) -> Resealed:
    """The head after `changes` (new state of some buckets), from what is committed now.

    Args:
        head: checked with `verify_head`; None before the first run.
        groups: rows of `vault.manifest_group`. Not believed: a run that died left them ahead.
        committed: every row of `vault.manifest` of the patient.

    Raises:
        Incomplete: what is committed matches neither the head's root nor its previous one.
        BadInput: the place in the tail goes backwards.
    """
    if head is not None and next_seq < head.next_seq:
        raise BadInput("a manifest cannot go back to an earlier place in the tail")
    buckets = {(one.tag, one.version, one.bucket): one for one in committed}
    before = handle_root(handle, group_roots(handle, buckets.values()))
    if before not in ((EMPTY_ROOT,) if head is None else (head.root, head.previous)):
        raise Incomplete(_WRONG)
    buckets.update({(one.tag, one.version, one.bucket): one for one in changes})
    after = group_roots(handle, buckets.values())
    new = Head(
        site=site,
        handle=handle,
        root=handle_root(handle, after),
        previous=before,
        next_seq=next_seq,
        chain=chain,
        at_ms=at_ms,
    )
    changed = {group: root for group, root in after.items() if groups.get(group) != root}
    return Resealed(new, changed, frozenset(group for group in groups if group not in after))
