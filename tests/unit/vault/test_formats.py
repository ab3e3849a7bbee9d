"""Frozen formats against tests/vectors/vault, both ways, and against a second writing of them here."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.vault import vectors
from twinward.record import Category
from twinward.vault import batches, cohortindex, contents, documents, hpke, keytree, manifest, publickeys, rows, sealing
from twinward.vault.associated import SCHEMA_ROWS, padded
from twinward.vault.keytree import Node


def vector(name: str) -> Any:
    return json.loads((vectors.FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["keys", "sealed", "codecs", "signed", "cohortindex"])
def test_what_we_write_is_what_was_frozen(name: str) -> None:
    assert json.loads(json.dumps(vectors.EVERY[name]())) == vector(name)


def test_tail_vector_opens_and_its_hashes_hold() -> None:
    frozen, now = vector("tail"), json.loads(json.dumps(vectors.tail_rows()))
    pair = hpke.private_key(keytree.tail_seed(vectors.DEK, Category.DEVICES, 1, 202611))
    plain = hpke.open_sealed(pair, bytes.fromhex(frozen["ciphertext"]), bytes.fromhex(frozen["info"]))
    assert plain.hex() == frozen["contents"]
    opened = contents.decode(plain)
    assert opened.rows.measurements() == vectors.measurements()
    assert opened.documents == vectors.texts()
    changing = {"ciphertext", "contents"}  # drawn anew; compressed by this machine's zlib
    assert {k: v for k, v in now.items() if k not in changing} == {k: v for k, v in frozen.items() if k not in changing}


def test_sealed_vectors_open() -> None:
    frozen = vector("sealed")
    key, associated = bytes.fromhex(frozen["key"]), bytes.fromhex(frozen["associated"])
    for one in frozen["sealed"]:
        plain = sealing.open_sealed(key, associated, bytes.fromhex(one["sealed"]))
        assert (len(plain), hashlib.sha256(plain).hexdigest()) == (one["length"], one["plaintext_sha256"])


def test_codec_vectors_open() -> None:
    frozen = vector("codecs")
    assert rows.decode_records(bytes.fromhex(frozen["records"])).measurements() == vectors.measurements()
    assert rows.decode_block(bytes.fromhex(frozen["rows"])).measurements() == vectors.measurements()
    assert documents.decode_plain(bytes.fromhex(frozen["documents"])) == vectors.texts()


def test_the_cohort_index_is_canonical_json_in_one_document() -> None:
    frozen = vector("cohortindex")
    (filed,) = documents.decode_plain(bytes.fromhex(frozen["document"]))
    assert (filed.resource, filed.effective_ms, filed.precision) == ("cohort-index", 0, 4)
    assert filed.lineage == struct.pack(">QQ", 0, frozen["version"])
    assert filed.body.decode() == frozen["body"]
    body = {
        "birth_year": 1961,
        "codes": {"loinc|8302-2": [202611, 202611, 1], "loinc|99504-3": [202611, 202611, 2]},
        "conditions": {"snomed|38341003": [0, 0, 1], "snomed|44054006": [201905, 201905, 1]},
        "sex": "female",
        "v": 1,
        "whole": True,
    }
    assert frozen["body"] == json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert cohortindex.encode(cohortindex.decode(frozen["body"].encode())).decode() == frozen["body"]


def test_signed_vectors_verify() -> None:
    frozen = vector("signed")
    authority = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(frozen["authority_private"])).public_key()
    authority.verify(bytes.fromhex(frozen["key_set_signature"]), bytes.fromhex(frozen["key_set"]))
    authority.verify(bytes.fromhex(frozen["head_signature"]), bytes.fromhex(frozen["head"]))


# The same formats written a second time, with nothing but hashlib and struct ------------


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand-SHA-512 (RFC 5869, 2.3)."""
    made, block = b"", b""
    while len(made) < length:
        block = hmac.digest(key, block + info + bytes([len(made) // 64 + 1]), "sha512")
        made += block
    return made[:length]


def test_key_tree_as_documented() -> None:
    category = expand(vectors.DEK, b"twinward/category/1\0" + struct.pack(">HI", 10, 1), 32)
    year = expand(category, b"twinward/year/1\0" + struct.pack(">H", 2026), 32)
    month = expand(year, b"twinward/month/1\0" + bytes([11]), 32)
    assert keytree.node_key(vectors.DEK, 10, 1, Node(2026, 0, True)) == year
    assert keytree.node_key(vectors.DEK, 10, 1, Node(2026, 11, False)) == month
    tail = expand(vectors.DEK, b"twinward/tail/1\0" + struct.pack(">HIHB", 10, 1, 2026, 11), 96)
    assert keytree.tail_seed(vectors.DEK, 10, 1, 202611) == tail


def test_associated_data_as_documented() -> None:
    fields = [
        b"\x01", b"st-anne-demo", vectors.HANDLE.bytes, struct.pack(">H", 10), struct.pack(">I", 1),
        struct.pack(">I", 202611), struct.pack(">I", 20261122), struct.pack(">Q", 7), struct.pack(">I", 4), b"rows/1",
    ]  # fmt: skip
    written = b"".join(struct.pack(">H", len(field)) + field for field in fields)
    assert vectors.associated(SCHEMA_ROWS).encode() == written


def test_sealing_as_documented() -> None:
    key, associated, salt = bytes(32), b"place", bytes(range(24))
    made = expand(key, b"twinward/sealed/1+AEAD_AES_256_GCM\0" + salt + associated, 76)
    sealed = sealing.seal(key, associated, b"x", vectors.FixedChance())
    assert sealed[:57] == b"\x01" + salt + made[44:]


def test_tail_hash_chain_and_batch_as_documented() -> None:
    row = batches.TailRow(vectors.HANDLE, 7, bytes(8), 1, 202611, 4, 12, 0, b"blob")
    place = vectors.HANDLE.bytes + struct.pack(">Q", 7) + bytes(8) + struct.pack(">III", 1, 202611, 4)
    digest = hashlib.sha256(b"twinward/tail-hash/1\0" + place + hashlib.sha256(b"blob").digest()).digest()[:16]
    assert row.hash() == digest
    chain = hashlib.sha256(b"twinward/tail-chain/1\0" + bytes(32) + struct.pack(">Q", 7) + digest).digest()
    assert batches.next_chain(bytes(32), 7, digest) == chain


def test_manifest_as_documented() -> None:
    one = manifest.BucketManifest(bytes(8), 1, 20261122, 2, 300, bytes(32))
    leaf = hashlib.sha256(
        b"twinward/manifest-bucket/1\0"
        + bytes(8)
        + struct.pack(">III", 1, 20261122, 2)
        + struct.pack(">Q", 300)
        + bytes(32)
    ).digest()
    assert one.hash() == leaf
    handle = vectors.HANDLE.bytes
    group = hashlib.sha256(
        b"twinward/manifest-group/1\0" + handle + bytes(8) + struct.pack(">IH", 1, 2026) + leaf
    ).digest()
    root = hashlib.sha256(
        b"twinward/manifest-handle/1\0" + handle + bytes(8) + struct.pack(">IH", 1, 2026) + group
    ).digest()
    assert manifest.handle_root(vectors.HANDLE, manifest.group_roots(vectors.HANDLE, [one])) == root


def test_labels_of_hpke_begin_no_other() -> None:
    infos = [hpke.INFO_TAIL, hpke.INFO_INTAKE, hpke.INFO_INTAKE_CONSENT, hpke.INFO_ADMIT]
    assert not any(a != b and a.startswith(b) for a in infos for b in infos)
    labels = {publickeys.LABEL_SET, publickeys.LABEL_INSTANCE, manifest.LABEL_HEAD, batches.LABEL_BATCH}
    assert len(labels) == 4
    assert all(label.endswith(b"\0") for label in (*labels, *infos))


def test_counts_in_clear_are_powers_of_two() -> None:
    assert [padded(n) for n in (1, 2, 3, 4, 5, 500, 1 << 30)] == [1, 2, 4, 4, 8, 512, 1 << 30]


def test_category_numbers_are_frozen() -> None:
    assert {one.name: int(one) for one in Category} == {
        "IDENTITY": 1, "ENCOUNTERS": 2, "CONDITIONS": 3, "VITALS": 4, "LABS": 5, "MEDS": 6, "PROCEDURES": 7,
        "NOTES": 8, "IMAGING": 9, "DEVICES": 10, "GENOMICS": 11, "TEACHING": 12, "MODEL_STATE": 13, "COHORT_INDEX": 14,
        "RAW": 15, "INTAKE": 16, "RESTRICTED": 17, "PSYCHIATRY": 32, "SEXUAL_HEALTH": 33, "HIV": 34,
        "SUBSTANCE_USE": 35, "VIOLENCE": 36, "REPRODUCTIVE": 37,
    }  # fmt: skip
