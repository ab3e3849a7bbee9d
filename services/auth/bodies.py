"""Bodies of ledger entries, sealed under audit keys.

One audit key for each patient and year, one for the site and year where an entry
is of no or of several patients; random, wrapped like a patient's key, made when
first needed. They end by retention alone, never with the patient's own key: that
somebody was given a record stays provable after the record is gone.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from services.auth.kek import KeyProvider
from twinward.clock import Chance, utc
from twinward.record import Handle
from twinward.vault import sealing

LABEL = b"twinward/ledger/body/1"
NOBODY = Handle(int=0)  # stands for the site in the database's unique index
KEY_BYTES = 32
_KEPT = 20_000  # opened audit keys held in memory

Owner = tuple[Handle | None, int]  # patient or the site, year
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class AuditKey:
    id: int  # vault.audit_key.id
    key: bytes


def owner_of(patient: Handle | None, at_ms: int) -> Owner:
    return patient, utc(at_ms).year


def associated(site: str, index: int, kind: int) -> bytes:
    """What a sealed body is bound to: label, u8 length || site, u64be index, u16be kind."""
    name = site.encode()
    return LABEL + len(name).to_bytes(1, "big") + name + struct.pack(">QH", index, kind)


def wrap_handle(owner: Owner) -> bytes:
    """What a wrapped audit key is bound to; never equal to a patient's own 16 bytes."""
    patient, year = owner
    return b"audit" + (patient or NOBODY).bytes + year.to_bytes(2, "big")


class AuditKeys:
    """Audit keys by owner, unwrapped once and kept. Safe for several threads."""

    def __init__(self, provider: KeyProvider, chance: Chance) -> None:
        self._provider = provider
        self._chance = chance
        self._kept: OrderedDict[Owner, AuditKey] = OrderedDict()
        self._lock = threading.Lock()

    def obtain(self, connection: Connection, owners: Iterable[Owner]) -> dict[Owner, AuditKey]:
        """The keys of `owners`; those that are missing are made in `connection`'s transaction.

        They count only once that transaction is committed: then call `keep`.
        """
        wanted = set(owners)
        found = self._held(wanted)
        if missing := wanted - found.keys():
            found |= self._stored(connection, missing)
        if missing := wanted - found.keys():
            found |= self._made(connection, missing)
        return found

    def keep(self, keys: Mapping[Owner, AuditKey]) -> None:
        with self._lock:
            for owner, key in keys.items():
                self._kept[owner] = key
                self._kept.move_to_end(owner)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def by_id(self, connection: Connection, ids: Iterable[int]) -> dict[int, AuditKey]:
        """The keys of bodies to be opened; a key that is gone is simply not there."""
        rows = connection.execute(
            "select id, handle, year, epoch, wrapped from vault.audit_key where id = any (%s)", [list(set(ids))]
        ).fetchall()
        return {key.id: key for _, key in map(self._unwrapped, rows)}

    def _held(self, wanted: set[Owner]) -> dict[Owner, AuditKey]:
        with self._lock:
            return {owner: self._kept[owner] for owner in wanted if owner in self._kept}

    def _stored(self, connection: Connection, wanted: set[Owner]) -> dict[Owner, AuditKey]:
        rows = connection.execute(
            """select a.id, a.handle, a.year, a.epoch, a.wrapped
               from unnest(%s::uuid[], %s::int[]) as w (owner, year)
               join vault.audit_key a
                 on coalesce(a.handle, '00000000-0000-0000-0000-000000000000'::uuid) = w.owner and a.year = w.year""",
            _columns(wanted),
        ).fetchall()
        return dict(map(self._unwrapped, rows))

    def _made(self, connection: Connection, wanted: set[Owner]) -> dict[Owner, AuditKey]:
        owners = sorted(wanted, key=lambda owner: ((owner[0] or NOBODY).int, owner[1]))
        fresh = [self._chance.bytes(KEY_BYTES) for _ in owners]
        wrapped = [self._provider.wrap(wrap_handle(owner), key) for owner, key in zip(owners, fresh, strict=True)]
        rows = connection.execute(
            """insert into vault.audit_key (handle, year, epoch, wrapped)
               select handle, year, epoch, wrapped
               from unnest(%s::uuid[], %s::int[], %s::int[], %s::bytea[]) as n (handle, year, epoch, wrapped)
               returning id, handle, year""",
            [
                [patient for patient, _ in owners],
                [year for _, year in owners],
                [epoch for epoch, _ in wrapped],
                [sealed for _, sealed in wrapped],
            ],
        ).fetchall()
        by_owner = dict(zip(owners, fresh, strict=True))
        return {(patient, year): AuditKey(id_, by_owner[patient, year]) for id_, patient, year in rows}

    def _unwrapped(self, row: tuple[int, Handle | None, int, int, bytes]) -> tuple[Owner, AuditKey]:
        id_, patient, year, epoch, wrapped = row
        owner = (patient, year)
        return owner, AuditKey(id_, self._provider.unwrap(wrap_handle(owner), epoch, bytes(wrapped)))


def _columns(owners: set[Owner]) -> list[object]:
    ordered = list(owners)
    return [[patient or NOBODY for patient, _ in ordered], [year for _, year in ordered]]


def seal(key: AuditKey, site: str, index: int, kind: int, salted: bytes, chance: Chance) -> bytes:
    """`salted` (salt || canonical JSON) of entry `index`, sealed under its audit key."""
    return sealing.seal(key.key, associated(site, index, kind), salted, chance)


def unseal(key: AuditKey, site: str, index: int, kind: int, sealed: bytes) -> bytes:
    """salt || canonical JSON. Raises Tampered."""
    return sealing.open_sealed(key.key, associated(site, index, kind), sealed)
