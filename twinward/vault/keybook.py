"""Patients' public keys, checked before anything is sealed to them.

A key is used only when the site's authority signed the whole set it came in, for
this patient, this version and this category. Checked keys are kept; a raised
version (consent withdrawn) makes what is kept worthless at once, because the
version is read under the lock of the same transaction.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.rows import TupleRow

from twinward.errors import Tampered, Unready
from twinward.record import Category, Handle
from twinward.vault import hpke, publickeys
from twinward.vault.publickeys import KeyEntry, KeySet
from twinward.vault.tags import by_tag

_LOAD = """
select s.id, s.handle, s.version, (extract(epoch from s.valid_until) * 1000)::bigint, s.signature,
  array_agg(k.tag), array_agg(k.month),
  array_agg((extract(epoch from k.valid_from) * 1000)::bigint),
  array_agg((extract(epoch from k.valid_until) * 1000)::bigint),
  array_agg(case when k.month = %b then k.public_key else sha256(k.public_key) end)
from unnest(%b::uuid[], %b::int[]) as w (handle, version)
join vault.public_key_set s on s.handle = w.handle and s.version = w.version
join vault.public_key k on k.set_id = s.id
group by s.id"""


class MissingKeys(Unready):
    """Patients that nothing can be sealed to now: no valid key for what arrived. Ask auth to Admit them."""

    reason = "MISSING_KEYS"

    def __init__(self, categories: Mapping[Handle, frozenset[int]]) -> None:
        super().__init__("some patients have no valid public keys; ask auth to admit them, or keep the data in intake")
        self.categories = categories

    @property
    def handles(self) -> frozenset[Handle]:
        return frozenset(self.categories)


@dataclass(frozen=True, slots=True)
class _Key:
    key: hpke.PublicKey
    from_ms: int
    until_ms: int


@dataclass(slots=True)
class _Known:
    version: int
    keys: dict[tuple[int, int], _Key] = field(default_factory=dict)  # (category, month)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who is to be sealed to: the patient's present version, and the categories of what arrived."""

    handle: Handle
    version: int
    categories: frozenset[int]


@dataclass
class KeyBook:
    site: str
    tag_key: bytes
    authority: Ed25519PublicKey
    most: int = 20_000  # patients whose keys are kept; about 10 kB each
    _known: OrderedDict[Handle, _Known] = field(default_factory=OrderedDict)

    def keys(
        self, connection: psycopg.Connection[TupleRow], wanted: Sequence[Wanted], month: int, now_ms: int
    ) -> dict[tuple[Handle, int], hpke.PublicKey]:
        """(handle, category) -> the key of the month of receipt (year * 100 + month).

        Raises:
            MissingKeys: some patient has no key that is valid now.
            Tampered: keys are stored that the authority did not sign.
        """
        unknown = [one for one in wanted if self._lacks(one, month, now_ms)]
        if unknown:
            self._load(connection, unknown, month)
        missing = {one.handle: lacks for one in wanted if (lacks := self._lacks(one, month, now_ms))}
        if missing:
            raise MissingKeys(missing)
        found = {
            (one.handle, category): self._known[one.handle].keys[category, month].key
            for one in wanted
            for category in one.categories
        }
        while len(self._known) > self.most:
            self._known.popitem(last=False)
        return found

    def _lacks(self, one: Wanted, month: int, now_ms: int) -> frozenset[int]:
        known = self._known.get(one.handle)
        if known is None or known.version != one.version:
            return one.categories
        self._known.move_to_end(one.handle)
        held = (known.keys.get((category, month)) for category in one.categories)
        lacks = [
            category
            for category, key in zip(one.categories, held, strict=True)
            if key is None or not key.from_ms <= now_ms < key.until_ms
        ]
        return frozenset(lacks)

    def _load(self, connection: psycopg.Connection[TupleRow], unknown: Sequence[Wanted], month: int) -> None:
        handles, versions = [one.handle for one in unknown], [one.version for one in unknown]
        rows = connection.execute(_LOAD, (month, handles, versions), binary=True).fetchall()
        for one in unknown:
            self._known[one.handle] = _Known(one.version)
        tags: dict[Handle, dict[bytes, int]] = {}
        for _, handle, version, until_ms, signature, *columns in rows:
            if handle not in tags:
                tags[handle] = by_tag(self.tag_key, handle, Category)
            checked = self._checked(
                handle, version, until_ms, signature, zip(*columns, strict=True), tags[handle], month
            )
            self._known[handle].keys.update(checked)

    def _checked(
        self,
        handle: Handle,
        version: int,
        until_ms: int,
        signature: bytes,
        rows: Iterable[tuple[bytes, int, int, int, bytes]],
        tags: Mapping[bytes, int],
        month: int,
    ) -> dict[tuple[int, int], _Key]:
        """Keys of `month` in one signed set; hashes stand for the keys of other months."""
        entries: list[KeyEntry] = []
        found: dict[tuple[int, int], bytes] = {}
        for tag, of_month, from_ms, to_ms, key in rows:
            category = tags.get(tag)
            if category is None:
                raise Tampered("a public key is filed under a category that this site does not know")
            digest = hashlib.sha256(key).digest() if of_month == month else key
            entries.append(KeyEntry(category, of_month, from_ms, to_ms, digest))
            if of_month == month:
                found[category, of_month] = key
        keys = KeySet(self.site, handle, version, until_ms, tuple(entries))
        publickeys.verify_set(self.authority, keys, signature)
        valid = {(one.category, one.month): one for one in entries}
        return {
            place: _Key(hpke.public_key(key), valid[place].valid_from_ms, min(valid[place].valid_until_ms, until_ms))
            for place, key in found.items()
        }
