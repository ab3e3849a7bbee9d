from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.auth.kek import FileProvider
from tests.unit.auth.ledger_house import make_kek
from twinward.clock import SystemChance
from twinward.errors import Malformed, Tampered, TwinwardError, Unready

HANDLE = bytes(range(16))


def provider(folder: Path, site: str = "demo-a") -> FileProvider:
    return FileProvider(folder, site, SystemChance())


def test_a_key_comes_back_to_its_owner_only(tmp_path: Path) -> None:
    one = provider(make_kek(tmp_path))
    epoch, wrapped = one.wrap(HANDLE, b"k" * 32)
    assert epoch == 1
    assert one.unwrap(HANDLE, epoch, wrapped) == b"k" * 32
    assert one.wrap(HANDLE, b"k" * 32)[1] != wrapped
    with pytest.raises(Tampered):
        one.unwrap(bytes(16), epoch, wrapped)
    with pytest.raises(Tampered):
        one.unwrap(HANDLE + b"\0", epoch, wrapped)
    with pytest.raises(Tampered):
        provider(tmp_path, "demo-b").unwrap(HANDLE, epoch, wrapped)


def test_site_and_handle_do_not_run_into_each_other(tmp_path: Path) -> None:
    make_kek(tmp_path)
    epoch, wrapped = provider(tmp_path, "site").wrap(b"ab", b"k" * 32)
    with pytest.raises(Tampered):
        provider(tmp_path, "sitea").unwrap(b"b", epoch, wrapped)


def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    one = provider(make_kek(tmp_path))
    epoch, wrapped = one.wrap(HANDLE, b"k" * 32)
    for at in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[at] ^= 1
        with pytest.raises((Tampered, Malformed)):
            one.unwrap(HANDLE, epoch, bytes(changed))
    for cut in range(len(wrapped)):
        with pytest.raises((Tampered, Malformed)):
            one.unwrap(HANDLE, epoch, wrapped[:cut])


def test_a_new_epoch_wraps_and_the_old_one_still_opens(tmp_path: Path) -> None:
    epoch, wrapped = provider(make_kek(tmp_path)).wrap(HANDLE, b"k" * 32)
    make_kek(tmp_path, 2)
    both = provider(tmp_path)
    assert both.epoch == 2
    assert both.wrap(HANDLE, b"k" * 32)[0] == 2
    assert both.unwrap(HANDLE, epoch, wrapped) == b"k" * 32
    with pytest.raises(Tampered):
        both.unwrap(HANDLE, 2, wrapped)


def test_an_ended_epoch_is_named(tmp_path: Path) -> None:
    epoch, wrapped = provider(make_kek(tmp_path)).wrap(HANDLE, b"k" * 32)
    make_kek(tmp_path, 2)
    (tmp_path / "epoch-1").unlink()
    with pytest.raises(Unready, match=r"epoch 1.*holds 2"):
        provider(tmp_path).unwrap(HANDLE, epoch, wrapped)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    (make_kek(tmp_path) / "epoch-1").chmod(mode)
    with pytest.raises(Unready, match="0600"):
        provider(tmp_path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unready, match="no key-encryption key"):
        provider(tmp_path)
    with pytest.raises(Unready, match="cannot be read"):
        provider(tmp_path / "nowhere")
    make_kek(tmp_path)
    for content in (b"", bytes(31), bytes(33)):
        (tmp_path / "epoch-1").write_bytes(content)
        with pytest.raises(Unready, match="32 bytes"):
            provider(tmp_path)
    (tmp_path / "epoch-1").unlink()
    os.mkfifo(tmp_path / "epoch-x")  # no number: not a key file
    with pytest.raises(Unready):
        provider(tmp_path)


def test_uses_are_counted(tmp_path: Path) -> None:
    one = provider(make_kek(tmp_path))
    epoch, wrapped = one.wrap(HANDLE, b"k" * 32)
    for _ in range(3):
        one.unwrap(HANDLE, epoch, wrapped)
    with pytest.raises(TwinwardError):
        one.unwrap(HANDLE, 9, wrapped)
    assert (one.wraps, one.unwraps) == (1, 4)
