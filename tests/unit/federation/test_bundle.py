"""The code bundle: the same bytes from the same code, other bytes from other code, and a signature over them."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.federation.flower import bundle
from twinward.errors import Unready

KEY = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(KEY).public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key().public_bytes_raw()


def test_another_process_makes_the_same_bundle() -> None:
    script = "from services.federation.flower.bundle import bundle_sha256; print(bundle_sha256().hex())"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == bundle.bundle_sha256().hex()


def test_knowing_the_bundle_needs_no_flower() -> None:
    script = (
        "import sys, services.federation.flower.bundle as b; b.bundle_bytes(); "
        "print('flwr' in sys.modules, 'numpy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "False False"


def test_the_bundle_names_every_source_file() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.bundle_bytes())) as archive:
        listed = archive.read("twinward_bundle/sources.txt").decode()
    names = {line.split("  ")[1] for line in listed.splitlines()}
    assert {"course.py", "flower/client_app.py", "flower/server_app.py"} <= names


def test_a_source_file_that_changes_changes_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipe.py").write_text("a = 1\n")
    monkeypatch.setattr(bundle, "SOURCES", tmp_path)
    before = bundle.sources()
    (tmp_path / "recipe.py").write_text("a = 2\n")
    assert bundle.sources() != before


def test_the_signature_holds_for_these_bytes_and_this_key_alone() -> None:
    content = bundle.bundle_bytes()
    records = bundle.signed(content, KEY)
    assert bundle.verified(content, records, PUBLIC)
    assert not bundle.verified(content + b"\0", records, PUBLIC)
    assert not bundle.verified(content, records, OTHER)
    assert not bundle.verified(content, {}, PUBLIC)
    assert not bundle.verified(content, {bundle.key_id(PUBLIC): "no json"}, PUBLIC)


def test_a_key_that_is_none() -> None:
    with pytest.raises(Unready):
        bundle.trusted(b"short")
