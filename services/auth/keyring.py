"""The keys that auth alone holds, and what is derived from a patient's key.

A patient's key is unwrapped for one request and dropped with it: nothing here
keeps one. What leaves are nodes and tail seeds for what was decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from services.auth.decision import Runs
from services.auth.facts import Facts
from services.auth.kek import KeyProvider
from twinward.clock import Chance
from twinward.errors import Denied, Unready
from twinward.record import Category, Handle
from twinward.vault import hpke, keytree, sealing
from twinward.vault.identifiers import Identifier, blind
from twinward.vault.lease import NodeKey, TailKey
from twinward.vault.tags import tag

_CONSENT_KEY = b"twinward/consent/1\x00"
_CONSENT_LABEL = b"twinward/consent-on-file/1\x00"


@dataclass(frozen=True)
class KeyRing:
    site: str
    provider: KeyProvider
    chance: Chance
    authority: Ed25519PrivateKey  # signs public keys and manifests
    tag_key: bytes
    index_key: bytes  # of auth's blind index
    feed_index_key: bytes  # of ingest's
    admit_key: hpke.PrivateKey
    intake_seeds: Mapping[int, bytes]  # key id -> 96 bytes

    def unwrap(self, facts: Facts) -> bytes:
        """The patient's key. Raises Denied (erased), Unready, Tampered or Unavailable."""
        if facts.erased or not facts.wrapped:
            raise Denied("this patient's data were erased; there is nothing left to release")
        return self.provider.unwrap(facts.handle.bytes, facts.epoch, facts.wrapped)

    def create(self, handle: Handle) -> tuple[bytes, int, bytes]:
        """A new patient's key, its epoch, and the key wrapped."""
        key = self.chance.bytes(keytree.KEY_BYTES)
        epoch, wrapped = self.provider.wrap(handle.bytes, key)
        return key, epoch, wrapped

    def tag(self, handle: Handle, category: int) -> bytes:
        return tag(self.tag_key, handle, category)

    def tags(self, handle: Handle, categories: Iterable[Category]) -> dict[int, bytes]:
        return {int(category): self.tag(handle, category) for category in categories}

    def category_of(self, handle: Handle, wanted: bytes) -> Category | None:
        """The category behind a clear tag of this patient."""
        return next((category for category in Category if self.tag(handle, category) == wanted), None)

    def blind(self, identifier: Identifier) -> bytes:
        return blind(self.index_key, identifier)

    def feed_blind(self, identifier: Identifier) -> bytes:
        return blind(self.feed_index_key, identifier)

    def nodes(self, key: bytes, facts: Facts, runs: Runs, now_ms: int) -> tuple[NodeKey, ...]:
        """The fewest nodes that open what was decided, for every key version that has blocks."""
        found: list[NodeKey] = []
        for category, periods in runs.items():
            own = self.tag(facts.handle, category)
            wanted = [node for period in periods for node in keytree.covering_nodes(period, now_ms)]
            for version in _versions(facts, own, category):
                years: dict[int, bytes] = {}
                found.extend(_node(key, category, version, node, years) for node in wanted)
        return tuple(found)

    def months(self, key: bytes, category: int, versions: Iterable[int], wanted: Iterable[int]) -> list[NodeKey]:
        """Month nodes (0: the pseudo-period) of one category."""
        nodes = [keytree.Node(month // 100, month % 100, False) for month in dict.fromkeys(wanted)]
        return [_node(key, category, version, node, {}) for version in versions for node in nodes]

    def tail(self, key: bytes, category: int, version: int, month: int) -> TailKey:
        seed = keytree.tail_seed(key, int(category), version, month)
        return TailKey(int(category), version, month // 100, month % 100, seed)

    def seal_consent(self, key: bytes, handle: Handle, sha256: bytes, body: bytes) -> bytes:
        """A Consent as it lies in vault.consent: under the patient's own key."""
        return sealing.seal(_consent_key(key), self._consent_place(handle, sha256), body, self.chance)

    def open_consent(self, key: bytes, handle: Handle, sha256: bytes, sealed: bytes) -> bytes:
        """Raises Tampered."""
        return sealing.open_sealed(_consent_key(key), self._consent_place(handle, sha256), sealed)

    def _consent_place(self, handle: Handle, sha256: bytes) -> bytes:
        site = self.site.encode()
        return _CONSENT_LABEL + len(site).to_bytes(2, "big") + site + handle.bytes + sha256


def _node(key: bytes, category: int, version: int, node: keytree.Node, years: dict[int, bytes]) -> NodeKey:
    """`years` keeps the year keys of one category and version for the nodes that follow."""
    if node.year not in years:
        year = keytree.Node(node.year, 0, node.year > 0)
        years[node.year] = keytree.node_key(key, int(category), version, year)
    released = years[node.year]
    if node.year and not node.whole_year:
        released = keytree.month_key(released, node.month)
    return NodeKey(int(category), version, node.year, node.month, node.whole_year, released)


def _versions(facts: Facts, own: bytes, category: Category) -> list[int]:
    """The present version, and every earlier one that sealed blocks of this category.

    Snapshots of a twin are in no manifest, so model-state names every version; and so does the cohort index, because
    what waits in the tail under an earlier version may be filed while a study looks for its patients.
    """
    if category in (Category.MODEL_STATE, Category.COHORT_INDEX):
        return list(range(1, facts.version + 1))
    return sorted({facts.version, *(group.version for group in facts.groups if group.tag == own)})


def _consent_key(key: bytes) -> bytes:
    return HKDFExpand(hashes.SHA512(), sealing.KEY_BYTES, _CONSENT_KEY).derive(key)


def load(site: str, secrets: Path, provider: KeyProvider, chance: Chance) -> KeyRing:
    """The key ring of a node directory's `secrets`.

    Raises:
        Unready: a file is missing, unreadable or of the wrong length.
    """
    seeds = {}
    for path in sorted((secrets / "intake").glob("*.seed")):
        if not path.stem.isdigit():
            raise Unready("an intake key's file is not named by its number; restore secrets/intake")
        seeds[int(path.stem)] = _read(path, hpke.SEED_BYTES)
    if not seeds:
        raise Unready("there is no intake key; restore secrets/intake, or make a new node")
    return KeyRing(
        site=site,
        provider=provider,
        chance=chance,
        authority=Ed25519PrivateKey.from_private_bytes(_read(secrets / "authority.key", 32)),
        tag_key=_read(secrets / "tag.key", 32),
        index_key=_read(secrets / "idx.key", 32),
        feed_index_key=_read(secrets / "feed_idx.key", 32),
        admit_key=hpke.private_key(_read(secrets / "admit.seed", hpke.SEED_BYTES)),
        intake_seeds=seeds,
    )


def _read(path: Path, length: int) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unready(f"cannot read the key file {path.name}; check its owner and mode", detail=str(error)) from None
    if len(data) != length:
        raise Unready(f"the key file {path.name} must have {length} bytes; restore it")
    return data
