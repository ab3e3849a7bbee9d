"""Kinds, bodies, entries, tiles, frames, opened bodies: vectors, round trips, and any bytes at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ledger.vectors import ours
from twinward.errors import BadInput, Malformed, Tampered, TooLarge
from twinward.ledger import body as bodies
from twinward.ledger import bundles, opened, tiles
from twinward.ledger.bundles import Frame, Torn
from twinward.ledger.entry import Entry, check_body, commit, join, minute_of
from twinward.ledger.kinds import Kind, word_of
from twinward.ledger.tree import Edge, leaf_hash

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
FRAMES = st.builds(
    Frame,
    st.integers(0, 1 << 40),
    st.lists(st.binary(max_size=80), min_size=1, max_size=9).map(tuple),
    st.binary(min_size=1, max_size=90),
)


# Kinds -----------------------------------------------------------------------------


def test_kind_numbers_are_appended_and_never_changed() -> None:
    frozen: dict[str, int] = ours("kinds.json")
    now = {kind.word: int(kind) for kind in Kind}
    assert {word: now.get(word) for word in frozen} == frozen
    assert sorted(now.values()) == list(range(1, len(now) + 1))
    assert max(now.values()) < 32_768


def test_kinds_by_word() -> None:
    assert [Kind.of(kind.word) for kind in Kind] == list(Kind)
    for word in ("Grant", "", "grants", "GRANT"):
        with pytest.raises(Malformed):
            Kind.of(word)
    assert word_of(1) == "grant"
    assert word_of(4711) == "kind-4711"


# Bodies ----------------------------------------------------------------------------


def test_body_and_entry_vectors() -> None:
    for vector in ours("entries.json"):
        body = bodies.encode(vector["body"])
        assert body == vector["canonical"].encode()
        salt = bytes.fromhex(vector["salt"])
        entry = Entry(vector["kind"], minute_of(vector["at_ms"]), commit(salt, body))
        assert entry.encode().hex() == vector["entry"]
        assert Entry.decode(bytes.fromhex(vector["entry"])) == entry
        assert check_body(entry, join(salt, body)) == vector["body"]
        assert leaf_hash(entry.encode()).hex() == vector["leaf_hash"]


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_a_body_has_one_form_and_is_read_back(body: dict[str, object]) -> None:
    data = bodies.encode(body)
    assert bodies.decode(data) == body
    assert bodies.encode(dict(reversed(body.items()))) == data


@pytest.mark.parametrize(
    "body",
    [
        {"a": 1.0},
        {"a": float("nan")},
        {"a": 2**53},
        {"A": 1},
        {"a": b"x"},
        {"a": {"b": {1: 2}}},
        {"": 1},
        {"a": "\ud800"},
    ],
)
def test_bodies_without_canonical_form_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        bodies.encode(body)


def test_body_limits() -> None:
    bodies.encode({"a": "x" * 4088})
    with pytest.raises(TooLarge):
        bodies.encode({"a": "x" * 4089})
    deep: object = 1
    for _ in range(7):
        deep = [deep]
    with pytest.raises(Malformed, match="nested"):
        bodies.encode({"a": deep})


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1,"a":1}', b'{"a":1e2}', b"[]", b"{", b'{"a":"\\u0061"}']
)
def test_other_forms_of_a_body_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        bodies.decode(data)


@given(st.binary(max_size=120) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_body_or_bad_input(data: bytes) -> None:
    try:
        body = bodies.decode(data)
    except BadInput:
        return
    assert bodies.encode(body) == data


# Entries ---------------------------------------------------------------------------


@given(st.integers(0, 65_535), st.integers(0, 1 << 50), st.binary(min_size=32, max_size=32))
def test_entries_round_trip(kind: int, minute: int, commitment: bytes) -> None:
    entry = Entry(kind, minute * 60, commitment)
    data = entry.encode()
    assert len(data) == 43
    assert Entry.decode(data) == entry


@given(st.binary(max_size=60) | st.binary(min_size=42, max_size=42).map(lambda rest: b"\x01" + rest))
def test_any_bytes_are_an_entry_or_malformed(data: bytes) -> None:
    try:
        entry = Entry.decode(data)
    except Malformed:
        return
    assert entry.encode() == data


def test_an_entry_shows_the_minute_only() -> None:
    assert minute_of(1_800_000_059_999) == minute_of(1_800_000_000_000) == 1_800_000_000


def test_a_body_of_another_entry_is_refused() -> None:
    body = bodies.encode({"v": 1})
    entry = Entry(1, 0, commit(b"s" * 32, body))
    for wrong in (join(b"t" * 32, body), join(b"s" * 32, bodies.encode({"v": 2})), b"", b"s" * 32):
        with pytest.raises(Tampered):
            check_body(entry, wrong)
    unreadable = Entry(1, 0, commit(b"s" * 32, b"no json"))
    with pytest.raises(Tampered):
        check_body(unreadable, join(b"s" * 32, b"no json"))


# Tiles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ((0, 0), "tile/0/000"),
        ((0, 0, 1), "tile/0/000.p/1"),
        ((1, 999), "tile/1/999"),
        ((0, 1000), "tile/0/x001/000"),
        ((0, 1_234_067), "tile/0/x001/x234/067"),
        (("entries", 1_234_067, 5), "tile/entries/x001/x234/067.p/5"),
    ],
)
def test_tile_paths(place: tuple[int, int], path: str) -> None:
    assert tiles.path(*place) == path


def test_no_empty_and_no_overfull_tiles() -> None:
    for width in (0, 257, -1):
        with pytest.raises(Malformed):
            tiles.path(0, 0, width)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_entry_bundles_round_trip(entries: list[bytes]) -> None:
    data = tiles.encode_entries(entries)
    assert tiles.decode_entries(data, len(entries)) == entries
    with pytest.raises(Malformed):
        tiles.decode_entries(data, len(entries) + 1)


@given(st.binary(max_size=300), st.integers(0, 9))
def test_any_bytes_are_a_tile_or_malformed(data: bytes, width: int) -> None:
    for decode, encode in ((tiles.decode_entries, tiles.encode_entries), (tiles.decode_hashes, tiles.encode_hashes)):
        try:
            found = decode(data, width)
        except Malformed:
            continue
        assert encode(found) == data


def test_an_entry_too_long_for_a_bundle() -> None:
    tiles.encode_entries([bytes(65_535)])
    with pytest.raises(TooLarge):
        tiles.encode_entries([bytes(65_536)])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000])
def test_every_tile_of_a_size_is_named_once(size: int) -> None:
    found = list(tiles.tiles_of(size))
    assert len(set(found)) == len(found)
    assert sum(width for level, _, width in found if level == 0) == size
    assert sum(width for level, _, width in found if level == 1) == size // 256
    assert sum(width for level, _, width in found if level == 2) == size // 65_536


def test_root_of_a_full_tile() -> None:
    leaves = [leaf_hash(b"%d" % at) for at in range(256)]
    assert tiles.root_of(leaves) == Edge().extended(leaves).root()


# Frames ----------------------------------------------------------------------------


def test_frame_vector() -> None:
    vector = ours("bundle.json")
    frame = Frame(vector["first"], tuple(bytes.fromhex(one) for one in vector["entries"]), vector["note"].encode())
    assert frame.encode().hex() == vector["frame"]
    assert bundles.name_of(frame.first) == vector["file"]


@given(st.lists(FRAMES, max_size=4), st.binary(max_size=30))
def test_frames_round_trip_and_a_torn_end_is_seen(written: list[Frame], rest: bytes) -> None:
    data = b"".join(frame.encode() for frame in written)
    read = list(bundles.frames(data + b"\x00" + rest))
    assert [item[1] for item in read[:-1] if not isinstance(item, Torn)] == written
    assert isinstance(read[-1], Torn)
    assert read[-1].at == len(data)


@given(FRAMES, st.data())
def test_every_cut_of_a_frame_is_torn(frame: Frame, data: st.DataObject) -> None:
    whole = frame.encode()
    cut = data.draw(st.integers(1, len(whole) - 1))
    assert [type(item) for item in bundles.frames(whole[:cut])] == [Torn]


@given(
    st.binary(max_size=200) | st.binary(max_size=120).map(lambda rest: b"TWL1" + len(rest).to_bytes(4, "big") + rest)
)
def test_any_bytes_are_frames_or_torn(data: bytes) -> None:
    for item in bundles.frames(data):
        if not isinstance(item, Torn):
            at, frame = item
            assert data[at:].startswith(frame.encode())


@pytest.mark.parametrize(
    "name", ["1.bundle", "x" * 20 + ".bundle", "0" * 20, "0" * 20 + ".bundle.bundle", "０" * 20 + ".bundle"]
)
def test_names_that_are_no_bundle(name: str) -> None:
    with pytest.raises(Malformed):
        bundles.first_of(name)


# Opened bodies ---------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 1000), st.binary(max_size=60), max_size=6))
def test_opened_bodies_round_trip(found: dict[int, bytes]) -> None:
    assert dict(opened.decode(opened.encode(found))) == found


@given(st.text(max_size=80) | VALUES.map(json.dumps))
def test_any_text_is_opened_bodies_or_malformed(text: str) -> None:
    try:
        list(opened.decode(text))
    except BadInput:
        return
