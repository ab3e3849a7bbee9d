from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ledger.vectors import ours, public
from twinward.errors import BadInput, Malformed, Tampered, TooLarge
from twinward.ledger import note as notes
from twinward.ledger.checkpoint import Checkpoint, open_note, parse, sign
from twinward.ledger.note import Signer, Verifier

# The example of the signed-note specification.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
SIGNER = Signer("demo-a.example/ledger", bytes(range(32)))
OTHER = Signer("demo-a.example/ledger", bytes(range(1, 33)))


def test_the_specification_example_verifies() -> None:
    verifier = Verifier.decode(EXAMPLE_KEY)
    assert verifier.encode() == EXAMPLE_KEY
    assert notes.verify(notes.parse(EXAMPLE), [verifier]) == ("example.com/foo",)
    with pytest.raises(Tampered):
        notes.verify(notes.parse(EXAMPLE.replace("an example", "no example")), [verifier])


def test_wycheproof_ed25519_through_our_verifier() -> None:
    """Wycheproof signs any bytes; our verifier signs text, so texts that are UTF-8 go through it
    and the rest through the same primitive it calls."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    groups = public("wycheproof/ed25519_test.json.gz")["testGroups"]
    checked, wrong = 0, []
    for group in groups:
        verifier = Verifier("wycheproof", bytes.fromhex(group["publicKey"]["pk"]))
        for test in group["tests"]:
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            try:
                accepted = verifier.accepts(message.decode(), signature)
            except UnicodeDecodeError:
                try:
                    Ed25519PublicKey.from_public_bytes(verifier.public).verify(signature, message)
                    accepted = True
                except InvalidSignature:
                    accepted = False
            checked += 1
            if accepted != (test["result"] == "valid"):
                wrong.append(test["tcId"])
    assert checked >= 140
    assert wrong == []


def test_our_vectors() -> None:
    vector = ours("note.json")
    signer = Signer(vector["origin"], bytes.fromhex(vector["private"]))
    assert signer.verifier.encode() == vector["verifier"]
    stated = Checkpoint(vector["origin"], vector["size"], bytes.fromhex(vector["root"]))
    assert stated.text() == vector["text"]
    assert sign(stated, signer).encode() == vector["note"]
    assert open_note(vector["note"], Verifier.decode(vector["verifier"])) == stated


def test_a_line_of_another_key_is_kept_and_ignored() -> None:
    note = SIGNER.sign("text\n")
    both = notes.Note(note.text, (*OTHER.sign("text\n").signatures, *note.signatures))
    read = notes.parse(both.encode())
    assert read == both
    assert notes.verify(read, [SIGNER.verifier]) == (SIGNER.verifier.name,)
    with pytest.raises(Tampered, match="none of the expected keys"):
        notes.verify(notes.parse(OTHER.sign("text\n").encode()), [SIGNER.verifier])


def test_a_false_line_of_a_known_key_condemns_the_note() -> None:
    good = SIGNER.sign("text\n")
    false = notes.Signature(SIGNER.verifier.name, SIGNER.verifier.key_id, bytes(64))
    with pytest.raises(Tampered, match="false"):
        notes.verify(notes.Note("text\n", (*good.signatures, false)), [SIGNER.verifier])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("— ", "- "),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text + "\n",
        lambda text: text.replace("demo-a.example/ledger ", "demo+a "),
        lambda text: "tab\there\n\n" + text.split("\n\n")[1],
        lambda text: text[:-3] + "\n",
        lambda text: text.replace("— demo", "—  demo"),
    ],
)
def test_what_is_no_note_is_malformed(change: object) -> None:
    text = SIGNER.sign("hello\n").encode()
    with pytest.raises(Malformed):
        notes.parse(change(text))  # type: ignore[operator]


def test_limits() -> None:
    with pytest.raises(TooLarge):
        notes.parse("x" * 1_000_001)
    line = SIGNER.sign("t\n").signatures[0]
    with pytest.raises(TooLarge):
        notes.parse(notes.Note("t\n", (line,) * 101).encode())


@pytest.mark.parametrize("text", ["", "a+b", "a+00000000+AQ==", EXAMPLE_KEY.replace("+53", "+54"), "a b+1+AA=="])
def test_bad_verifier_keys(text: str) -> None:
    with pytest.raises(Malformed):
        Verifier.decode(text)


def test_key_types_to_come_are_named_as_unknown() -> None:
    for kind in (0x04, 0x06):
        public_key = bytes([kind]) + bytes(32)
        stated = notes.key_id("w", kind, bytes(32)).hex()
        with pytest.raises(Malformed, match="type"):
            Verifier.decode(f"w+{stated}+{base64.b64encode(public_key).decode()}")


@pytest.mark.parametrize(
    "text",
    [
        "o\n1\n" + "A" * 43 + "=\n" + "extension\n",
        "o\n01\n" + "A" * 43 + "=\n",
        "o\n-1\n" + "A" * 43 + "=\n",
        "o\n+1\n" + "A" * 43 + "=\n",
        "o\n１\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 42 + "B=\n",  # second form of the same bytes
        "o\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
        "o\n" + "9" * 19 + "\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=",
    ],
)
def test_bad_checkpoints(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    note = SIGNER.sign(Checkpoint("other.example/ledger", 1, bytes(32)).text())
    with pytest.raises(Tampered, match="another log"):
        open_note(note.encode(), SIGNER.verifier)


@given(st.integers(0, 1 << 62), st.binary(min_size=32, max_size=32))
def test_checkpoints_round_trip(size: int, root: bytes) -> None:
    stated = Checkpoint("demo-a.example/ledger", size, root)
    assert parse(stated.text()) == stated
    assert open_note(sign(stated, SIGNER).encode().encode(), SIGNER.verifier) == stated


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_note_or_bad_input(data: bytes) -> None:
    try:
        note = notes.parse(data)
    except BadInput:
        return
    assert note.encode().encode() == data


@given(st.data())
def test_one_changed_byte_never_verifies(data: st.DataObject) -> None:
    whole = bytearray(sign(Checkpoint("demo-a.example/ledger", 12345, bytes(32)), SIGNER).encode().encode())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((BadInput, Tampered)):
        open_note(bytes(whole), SIGNER.verifier)
