"""Project Wycheproof's vectors through the primitives that the vault uses."""

from __future__ import annotations

import gzip
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HOUSE = Path(__file__).parents[3]
DATA = Path(os.environ.get("TWINWARD_DATA", HOUSE.parent / "shared" / "data"))


def cases(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    path = DATA / "vectors" / "wycheproof" / f"{name}_test.json.gz"
    if not path.exists():
        pytest.skip("no data folder: set TWINWARD_DATA")
    for group in json.loads(gzip.decompress(path.read_bytes()))["testGroups"]:
        for case in group["tests"]:
            yield group, case


def test_aes_256_gcm() -> None:
    seen = 0
    for group, case in cases("aes_gcm"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        cipher = AESGCM(bytes.fromhex(case["key"]))
        nonce, aad = bytes.fromhex(case["iv"]), bytes.fromhex(case["aad"])
        sealed = bytes.fromhex(case["ct"] + case["tag"])
        seen += 1
        if case["result"] == "valid":
            assert cipher.encrypt(nonce, bytes.fromhex(case["msg"]), aad) == sealed
            assert cipher.decrypt(nonce, sealed, aad) == bytes.fromhex(case["msg"])
        else:
            with pytest.raises(InvalidTag):
                cipher.decrypt(nonce, sealed, aad)
    assert seen > 60


def test_hkdf_expand_sha_512() -> None:
    seen = 0
    for _, case in cases("hkdf_sha512"):
        # Our keys are uniform and are expanded only; the extraction of the vectors is one HMAC.
        extracted = hmac.digest(bytes.fromhex(case["salt"]) or bytes(64), bytes.fromhex(case["ikm"]), "sha512")
        seen += 1
        if case["result"] == "valid":
            expand = HKDFExpand(hashes.SHA512(), case["size"], bytes.fromhex(case["info"]))
            assert expand.derive(extracted).hex() == case["okm"]
        else:
            with pytest.raises(ValueError, match=r"(?i)length|large"):
                HKDFExpand(hashes.SHA512(), case["size"], bytes.fromhex(case["info"])).derive(extracted)
    assert seen > 60


def test_hmac_sha_256() -> None:
    seen = 0
    for group, case in cases("hmac_sha256"):
        full = hmac.digest(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"]), "sha256")
        fits = hmac.compare_digest(full[: group["tagSize"] // 8], bytes.fromhex(case["tag"]))
        assert fits == (case["result"] == "valid")
        seen += 1
    assert seen > 100


def test_x25519() -> None:
    seen = 0
    for _, case in cases("x25519"):
        private = X25519PrivateKey.from_private_bytes(bytes.fromhex(case["private"]))
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(case["public"]))
        seen += 1
        if int(case["shared"], 16) == 0:
            with pytest.raises(ValueError, match="shared"):
                private.exchange(public)
        else:
            assert private.exchange(public).hex() == case["shared"]
    assert seen > 400


def test_ed25519() -> None:
    seen = 0
    for group, case in cases("ed25519"):
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]["pk"]))
        seen += 1
        if case["result"] == "valid":
            key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
        else:
            with pytest.raises(InvalidSignature):
                key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
    assert seen > 100


def test_ml_kem_768() -> None:
    seen = 0
    for group, case in cases("mlkem_768"):
        assert group["parameterSet"] == "ML-KEM-768"
        if "seed" in case:
            seen += _from_seed(case)
        elif "ek" in case and case["result"] == "invalid":
            with pytest.raises(ValueError, match=r"(?i)key"):
                MLKEM768PublicKey.from_public_bytes(bytes.fromhex(case["ek"]))
            seen += 1
    assert seen > 50


def _from_seed(case: dict[str, Any]) -> int:
    if case["result"] != "valid":
        try:
            private = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(case["seed"]))
            shared = private.decapsulate(bytes.fromhex(case["c"]))
        except ValueError:
            return 1
        assert shared.hex() != case.get("K", "")
        return 1
    private = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(case["seed"]))
    if "ek" in case:
        assert private.public_key().public_bytes_raw().hex() == case["ek"]
    if "c" in case:
        assert private.decapsulate(bytes.fromhex(case["c"])).hex() == case["K"]
    return 1
