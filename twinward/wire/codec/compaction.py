"""What the compactor asks of auth, and the messages of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import grpc

from twinward.record import Handle
from twinward.vault.lease import Lease, NodeKey
from twinward.vault.manifest import BucketManifest
from twinward.wire.codec.lease import lease_from_message, node_from_message
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, record_pb2


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """What is compacted under one lease: the tail of one patient and tag."""

    handle: Handle
    tag: bytes


@dataclass(frozen=True, slots=True)
class Granted:
    """Leases of what may be compacted now; patients who wait for the night, with the moment (ms) to ask again."""

    leases: Sequence[Lease] = ()
    deferred: Mapping[Handle, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Months:
    """Months (year * 100 + month, 0: undated) whose block keys a lease needs."""

    lease_id: bytes
    months: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What one patient's buckets will hold; `lease_id` is any of the patient's leases of this run."""

    lease_id: bytes
    handle: Handle
    next_seq: int
    chain: bytes
    buckets: tuple[BucketManifest, ...]


@dataclass(frozen=True, slots=True)
class Use:
    lease_id: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class CompactionCalls:
    """The calls themselves, over a channel of `twinward.link.client`; errors are our types."""

    channel: grpc.Channel

    def grant(self, units: Sequence[Unit], asked: Collection[Handle]) -> Granted:
        """Leases of the units that may be compacted now; readers wait for the patients `asked`."""
        response = self._stub.GrantCompaction(
            auth_pb2.GrantCompactionRequest(
                units=[auth_pb2.CompactionUnit(handle=unit.handle.bytes, tag=unit.tag) for unit in units],
                asked=[handle.bytes for handle in asked],
            )
        )
        return Granted(
            [lease_from_message(lease) for lease in response.leases],
            {UUID(bytes=one.handle): one.until_ms for one in response.deferred},
        )

    def extend(self, wanted: Sequence[Months]) -> dict[bytes, tuple[NodeKey, ...]]:
        """Lease -> block keys of its months."""
        response = self._stub.ExtendCompaction(
            auth_pb2.ExtendCompactionRequest(
                months=[
                    auth_pb2.CompactionMonths(
                        lease_id=one.lease_id,
                        months=[record_pb2.Month(year=month // 100, month=month % 100) for month in one.months],
                    )
                    for one in wanted
                ]
            )
        )
        return {bytes(one.lease_id): tuple(node_from_message(node) for node in one.nodes) for one in response.nodes}

    def seal(self, changes: Sequence[Change]) -> None:
        """Auth signs the heads of what is about to be committed; a patient at most once a call."""
        self._stub.SealManifests(auth_pb2.SealManifestsRequest(changes=[_change(change) for change in changes]))

    def report(self, uses: Sequence[Use]) -> None:
        self._stub.ReportUse(
            auth_pb2.ReportUseRequest(uses=[auth_pb2.LeaseUse(lease_id=use.lease_id, rows=use.rows) for use in uses])
        )

    def give_back(self, lease_ids: Sequence[bytes]) -> None:
        self._stub.ReturnLease(auth_pb2.ReturnLeaseRequest(lease_ids=lease_ids))

    @property
    def _stub(self) -> auth_pb2_grpc.AuthStub:
        return auth_pb2_grpc.AuthStub(self.channel)


def _change(change: Change) -> auth_pb2.ManifestChange:
    return auth_pb2.ManifestChange(
        lease_id=change.lease_id,
        handle=change.handle.bytes,
        next_seq=change.next_seq,
        chain=change.chain,
        buckets=[
            auth_pb2.BucketManifest(
                tag=one.tag,
                version=one.version,
                bucket=one.bucket,
                blocks=one.blocks,
                n=one.n,
                commitments=one.commitments,
            )
            for one in change.buckets
        ],
    )
