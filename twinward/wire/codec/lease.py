"""Lease <-> message. The only place where released keys meet the wire."""

from __future__ import annotations

from uuid import UUID

from twinward.errors import Malformed
from twinward.vault.keytree import Node
from twinward.vault.lease import Lease, NodeKey, TailKey
from twinward.wire.v1 import auth_pb2


def node_to_message(node: NodeKey) -> auth_pb2.NodeKey:
    return auth_pb2.NodeKey(
        category=node.category,
        version=node.version,
        year=node.year,
        month=node.month,
        whole_year=node.whole_year,
        key=node.key,
    )


def node_from_message(message: auth_pb2.NodeKey) -> NodeKey:
    """Raises Malformed where the message names no node or holds no 32-byte key."""
    if len(message.key) != 32:
        raise Malformed("a released key must have 32 bytes")
    Node(message.year, message.month, message.whole_year)
    return NodeKey(
        message.category, message.version, message.year, message.month, message.whole_year, key=bytes(message.key)
    )


def tail_to_message(tail: TailKey) -> auth_pb2.TailKey:
    return auth_pb2.TailKey(
        category=tail.category, version=tail.version, year=tail.year, month=tail.month, seed=tail.seed
    )


def tail_from_message(message: auth_pb2.TailKey) -> TailKey:
    """Raises Malformed where the seed has not 96 bytes."""
    if len(message.seed) != 96:
        raise Malformed("the seed of a tail key must have 96 bytes")
    return TailKey(message.category, message.version, message.year, message.month, seed=bytes(message.seed))


def lease_to_message(lease: Lease) -> auth_pb2.Lease:
    return auth_pb2.Lease(
        lease_id=lease.lease_id,
        handle=lease.handle.bytes,
        until_ms=lease.until_ms,
        purpose=lease.purpose,
        tags=[auth_pb2.CategoryTag(category=category, tag=tag) for category, tag in lease.tags.items()],
        nodes=[node_to_message(node) for node in lease.nodes],
        tails=[tail_to_message(tail) for tail in lease.tails],
        manifest_root=lease.manifest_root,
        manifest_previous=lease.manifest_previous,
        leaf=lease.leaf,
        version=lease.version,
        issued_ms=lease.issued_ms,
    )


def lease_from_message(message: auth_pb2.Lease) -> Lease:
    """Raises Malformed where identifiers, roots or keys have a wrong length."""
    lengths = (len(message.lease_id), len(message.handle), len(message.manifest_root), len(message.manifest_previous))
    if lengths[:2] != (16, 16) or any(length not in (0, 32) for length in lengths[2:]):
        raise Malformed("a lease names 16-byte identifiers and 32-byte roots")
    if any(len(entry.tag) != 8 for entry in message.tags):
        raise Malformed("a tag has 8 bytes")
    return Lease(
        lease_id=bytes(message.lease_id),
        handle=UUID(bytes=bytes(message.handle)),
        until_ms=message.until_ms,
        purpose=message.purpose,
        tags={entry.category: bytes(entry.tag) for entry in message.tags},
        nodes=tuple(node_from_message(node) for node in message.nodes),
        tails=tuple(tail_from_message(tail) for tail in message.tails),
        manifest_root=bytes(message.manifest_root),
        manifest_previous=bytes(message.manifest_previous),
        leaf=message.leaf,
        version=message.version,
        issued_ms=message.issued_ms,
    )
