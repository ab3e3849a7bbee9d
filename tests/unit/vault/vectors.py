"""Makes tests/vectors/vault/*.json: `python -m tests.unit.vault.vectors`. Formats are frozen: run it to
add a vector, never to change one. Inputs are fixed; nothing here is secret."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twinward.record import Category, Document, Measurement, Precision, Status
from twinward.vault import batches, cohortindex, contents, documents, hpke, keytree, manifest, publickeys, rows, sealing
from twinward.vault.associated import SCHEMA_ROWS, SCHEMA_TAIL, AssociatedData
from twinward.vault.cohortindex import CohortIndex, Span
from twinward.vault.keytree import Node
from twinward.vault.manifest import BucketManifest, Head
from twinward.vault.tags import tag

FOLDER = Path(__file__).parents[2] / "vectors" / "vault"
HANDLE = UUID("6f1c2b52-8d4e-4c1a-9a51-3f0d2c7b9e10")
INSTANCE = UUID("0b8f1a0e-2c55-4e53-8f0e-5d6a7b8c9d0e")
SITE = "st-anne-demo"
DEK = bytes(range(32))
TAG_KEY = bytes(range(32, 64))


class FixedChance:
    """Bytes 0, 1, 2, ...: only for vectors."""

    def bytes(self, n: int) -> bytes:
        return bytes(at % 256 for at in range(n))


def associated(schema: str) -> AssociatedData:
    return AssociatedData(
        site=SITE, handle=HANDLE, category=Category.DEVICES, version=1, month=202611,
        bucket=20261122 if schema == SCHEMA_ROWS else 0, seq=7, padded=4, schema=schema,
    )  # fmt: skip


def measurements() -> list[Measurement]:
    return [
        Measurement("loinc|99504-3", 1795348800000, 1795348861000, 112.0, "mg/dL", bytes([1] * 16), source="files/a"),
        Measurement("loinc|99504-3", 1795349100000, 1795349161000, 115.0, "mg/dL", bytes([2] * 16), source="files/a"),
        Measurement("loinc|8302-2", 1795349400000, 1795349400500, 1.755, "m", bytes([3] * 16), "175.5 cm", 60,
                    Status.CORRECTED, Precision.DAY, 5, "files/b"),
    ]  # fmt: skip


def texts() -> list[Document]:
    return [Document("Observation", 1795348800000, 1795348861000, bytes([4] * 16), b'{"resourceType":"Observation"}')]


def keys() -> object:
    nodes = [Node(2026, 11, False), Node(2025, 0, True), Node(0, 0, False)]
    tail = keytree.tail_seed(DEK, Category.DEVICES, 1, 202611)
    return {
        "dek": DEK.hex(),
        "nodes": [
            {"category": 10, "version": 1, "year": one.year, "month": one.month, "whole_year": one.whole_year,
             "key": keytree.node_key(DEK, 10, 1, one).hex()}
            for one in nodes
        ],
        "tail": {"category": 10, "version": 1, "month": 202611, "seed": tail.hex(),
                 "public_key_sha256": hashlib.sha256(hpke.public_bytes(tail)).hexdigest()},
        "tag": {"tag_key": TAG_KEY.hex(), "handle": str(HANDLE), "category": 10, "tag": tag(TAG_KEY, HANDLE, 10).hex()},
    }  # fmt: skip


def sealed() -> object:
    key = keytree.node_key(DEK, 10, 1, Node(2026, 11, False))
    made = []
    for plain in (b"", b"one reading", bytes(16384), bytes(range(256)) * 80):
        blob = sealing.seal(key, associated(SCHEMA_ROWS).encode(), plain, FixedChance())
        made.append({"plaintext_sha256": hashlib.sha256(plain).hexdigest(), "length": len(plain), "sealed": blob.hex()})
    return {
        "key": key.hex(),
        "associated": associated(SCHEMA_ROWS).encode().hex(),
        "plaintexts": "empty; 'one reading'; 16384 zero bytes; bytes 0..255 eighty times",
        "sealed": made,
    }


def tail_rows() -> object:
    """One ciphertext: HPKE draws its own randomness, so it is checked by opening only."""
    seed = keytree.tail_seed(DEK, Category.DEVICES, 1, 202611)
    info = hpke.INFO_TAIL + associated(SCHEMA_TAIL).encode()
    plain = contents.encode(measurements(), texts())
    row = batches.TailRow(HANDLE, 7, tag(TAG_KEY, HANDLE, 10), 1, 202611, 4, 12, 0, b"blob")
    batch = batches.Batch(
        site=SITE, id=12, feed="files", instance=INSTANCE, at_ms=1795348861000, accepted=4, dropped=1, duplicates=2,
        intake=3, quarantined=4, rows=row.hash(),
    )  # fmt: skip
    instance = Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
    return {
        "info": info.hex(),
        "contents": plain.hex(),
        "ciphertext": hpke.seal(hpke.public_key(hpke.public_bytes(seed)), plain, info).hex(),
        "row_hash_of_blob_blob": row.hash().hex(),
        "chain_after": batches.next_chain(manifest.FIRST_CHAIN, 7, row.hash()).hex(),
        "batch_root": batch.root().hex(),
        "instance_private": bytes(range(64, 96)).hex(),
        "batch_signature": batches.sign(instance, batch.root()).hex(),
    }


def codecs() -> object:
    block = rows.encode_block(rows.from_measurements(measurements()), level=0)
    return {
        "records": rows.encode_records(measurements()).hex(),
        "rows": block.hex(),
        "documents": documents.encode_plain(texts()).hex(),
    }


def cohort_index() -> object:
    arrived = [
        cohortindex.of_arrival(Category.LABS, [rows.from_measurements(measurements())], []),
        CohortIndex(1961, "female", {"snomed|44054006": Span(201905, 201905, 1), "snomed|38341003": Span(0, 0, 1)}),
    ]
    index = cohortindex.merged(*arrived)
    filed = cohortindex.to_document(index, 2, 1795348861000)
    return {"version": 2, "body": filed.body.decode(), "document": documents.encode_plain([filed]).hex()}


def signed() -> object:
    authority = Ed25519PrivateKey.from_private_bytes(bytes(range(96, 128)))
    entries = tuple(
        publickeys.entry(category, 202611, 1793491200000, 1796083200000, bytes([category]) * 1216)
        for category in (5, 10)
    )
    keys = publickeys.KeySet(SITE, HANDLE, 1, 1796083200000, entries)
    own = tag(TAG_KEY, HANDLE, 10)
    buckets = [BucketManifest(own, 1, 20261100 + day, 1, 288, bytes([day] * 32)) for day in (21, 22)]
    groups = manifest.group_roots(HANDLE, buckets)
    root = manifest.handle_root(HANDLE, groups)
    head = Head(site=SITE, handle=HANDLE, root=root, previous=b"", next_seq=9, chain=bytes(32), at_ms=1795348861000)
    instance = publickeys.instance_bytes(SITE, INSTANCE, "ingest", bytes(range(32)))
    return {
        "authority_private": bytes(range(96, 128)).hex(),
        "key_set": keys.encode().hex(),
        "key_set_signature": publickeys.sign_set(authority, keys).hex(),
        "instance": instance.hex(),
        "bucket_hashes": [one.hash().hex() for one in buckets],
        "group_roots": [root.hex() for root in groups.values()],
        "handle_root": root.hex(),
        "head": head.encode().hex(),
        "head_signature": manifest.sign_head(authority, head).hex(),
    }


EVERY = {
    "keys": keys, "sealed": sealed, "tail": tail_rows, "codecs": codecs, "signed": signed, "cohortindex": cohort_index,
}  # fmt: skip

if __name__ == "__main__":
    for name, make in EVERY.items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(make(), indent=1) + "\n")
