"""Whatever is changed in a sealed record, it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vault.store import SeededChance
from tests.unit.vault.vectors import HANDLE, associated
from twinward.errors import BadInput, Tampered
from twinward.vault import hpke
from twinward.vault.associated import SCHEMA_ROWS, AssociatedData
from twinward.vault.sealing import CHUNK_BYTES, HEADER_BYTES, Opening, open_sealed, seal

KEY = bytes(range(32))
PLACE = associated(SCHEMA_ROWS).encode()


@pytest.mark.parametrize("length", [0, 1, 500, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_opens_to_what_was_sealed(length: int) -> None:
    plain = SeededChance(1).bytes(length)
    sealed = seal(KEY, PLACE, plain, SeededChance(2))
    assert open_sealed(KEY, PLACE, sealed) == plain
    assert len(sealed) == HEADER_BYTES + length + 16 * (length // CHUNK_BYTES + 1)
    opening = Opening.begin(KEY, PLACE, sealed)
    for at in range(opening.chunks):
        assert opening.chunk(at) == plain[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES]
    with pytest.raises(BadInput):
        opening.chunk(opening.chunks)


def test_every_flipped_byte_is_refused() -> None:
    sealed = seal(KEY, PLACE, b"a reading of one patient", SeededChance(3))
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(Tampered):
            open_sealed(KEY, PLACE, bytes(changed))


def test_every_shorter_and_longer_record_is_refused() -> None:
    sealed = seal(KEY, PLACE, SeededChance(4).bytes(CHUNK_BYTES + 40), SeededChance(5))
    cuts = [*range(200), *range(HEADER_BYTES + CHUNK_BYTES - 20, len(sealed))]
    for cut in cuts:
        with pytest.raises(Tampered):
            open_sealed(KEY, PLACE, sealed[:cut])
    for more in (b"\0", bytes(16), bytes(CHUNK_BYTES + 16)):
        with pytest.raises(Tampered):
            open_sealed(KEY, PLACE, sealed + more)


def test_swapped_chunks_are_refused() -> None:
    sealed = seal(KEY, PLACE, bytes(2 * CHUNK_BYTES + 5), SeededChance(6))
    size, start = CHUNK_BYTES + 16, HEADER_BYTES
    swapped = (
        sealed[:start]
        + sealed[start + size : start + 2 * size]
        + sealed[start : start + size]
        + sealed[start + 2 * size :]
    )
    with pytest.raises(Tampered):
        open_sealed(KEY, PLACE, swapped)


def test_another_salt_of_the_same_key_does_not_fit() -> None:
    one, two = (seal(KEY, PLACE, b"x", SeededChance(seed)) for seed in (7, 8))
    with pytest.raises(Tampered):
        open_sealed(KEY, PLACE, one[:HEADER_BYTES] + two[HEADER_BYTES:])


CHANGES: dict[str, Callable[[AssociatedData], AssociatedData]] = {
    "site": lambda a: replace(a, site="st-annex-demo"),
    "handle": lambda a: replace(a, handle=type(HANDLE)(int=HANDLE.int ^ 1)),
    "category": lambda a: replace(a, category=4),
    "version": lambda a: replace(a, version=2),
    "month": lambda a: replace(a, month=202612),
    "bucket": lambda a: replace(a, bucket=20261123),
    "seq": lambda a: replace(a, seq=8),
    "padded": lambda a: replace(a, padded=8),
    "schema": lambda a: replace(a, schema="rows/2"),
}


def test_every_field_of_the_place_is_bound() -> None:
    place = associated(SCHEMA_ROWS)
    assert set(CHANGES) == {field.name for field in fields(AssociatedData)}
    sealed = seal(KEY, place.encode(), b"x", SeededChance(9))
    pair = hpke.private_key(bytes(range(96)))
    row = hpke.seal(hpke.public_key(hpke.public_bytes(bytes(range(96)))), b"x", hpke.INFO_TAIL + place.encode())
    for change in CHANGES.values():
        with pytest.raises(Tampered):
            open_sealed(KEY, change(place).encode(), sealed)
        with pytest.raises(Tampered):
            hpke.open_sealed(pair, row, hpke.INFO_TAIL + change(place).encode())
    with pytest.raises(TypeError):
        AssociatedData()  # type: ignore[call-arg]


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=2, unique=True))
def test_names_of_different_sites_never_encode_alike(names: list[bytes]) -> None:
    encoded = {replace(associated(SCHEMA_ROWS), site=name.hex()).encode() for name in names}
    assert len(encoded) == 2


def test_every_flipped_byte_of_a_tail_row_is_refused() -> None:
    pair = hpke.private_key(bytes(range(96)))
    row = hpke.seal(hpke.public_key(hpke.public_bytes(bytes(range(96)))), b"a row", hpke.INFO_TAIL + PLACE)
    assert hpke.open_sealed(pair, row, hpke.INFO_TAIL + PLACE) == b"a row"
    for at in range(0, len(row), 7):
        changed = bytearray(row)
        changed[at] ^= 0x80
        with pytest.raises(Tampered):
            hpke.open_sealed(pair, bytes(changed), hpke.INFO_TAIL + PLACE)
    for cut in (0, 10, 1119, 1135, len(row) - 1):
        with pytest.raises(Tampered):
            hpke.open_sealed(pair, row[:cut], hpke.INFO_TAIL + PLACE)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_what_we_did_not_write_is_refused(noise: bytes) -> None:
    with pytest.raises(Tampered):
        open_sealed(KEY, PLACE, noise)
    with pytest.raises(Tampered):
        open_sealed(KEY, PLACE, b"\x01" + noise)


def test_keys_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(BadInput):
        seal(KEY[:31], PLACE, b"x", SeededChance(1))
    for length in (95, 97):
        with pytest.raises(BadInput):
            hpke.private_key(bytes(length))
    for data in (bytes(1215), b"\xff" * 1216):
        with pytest.raises(BadInput):
            hpke.public_key(data)
