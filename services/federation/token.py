"""The one line that a hospital needs to join: where, whose authority, and a secret for once.

base64url (without padding) of JSON:

    {"v": 1, "coordinator": site id, "site": the hospital it is for, "door": host:port, "join": host:port,
     "fleet": host:port, "authority": base64url of the root certificate's DER, "secret": base64url of 32 bytes}

`door` is the coordinator's mTLS door, `join` the listener without client certificates, `fleet` the SuperLink.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from twinward.errors import Malformed

VERSION = 1
SECRET_BYTES = 32
MOST_CHARACTERS = 8192
SITE = re.compile(r"(?=.{1,120}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
ADDRESS = re.compile(r"(?=.{3,260}\Z)([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    coordinator: str  # site id
    site: str  # the hospital it was made for
    door: str  # host:port, mTLS; the server's name is coordinator.<coordinator>
    join: str  # host:port, TLS without a client certificate
    fleet: str  # host:port of the SuperLink
    authority: bytes  # PEM: the coordinator's root
    secret: bytes  # 32 bytes

    def __repr__(self) -> str:  # the secret stays out of tracebacks and logs
        return f"Invitation(coordinator={self.coordinator!r}, site={self.site!r})"


def write_token(invitation: Invitation) -> str:
    """One line, for `read_token`."""
    authority = x509.load_pem_x509_certificate(invitation.authority).public_bytes(Encoding.DER)
    fields = {
        "v": VERSION, "coordinator": invitation.coordinator, "site": invitation.site, "door": invitation.door,
        "join": invitation.join, "fleet": invitation.fleet, "authority": text_of(authority),
        "secret": text_of(invitation.secret),
    }  # fmt: skip
    return text_of(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def read_token(text: str) -> Invitation:
    """What a token says; spaces and line ends around it are forgiven.

    Raises:
        Malformed: this is no token, or one of another version.
    """
    try:
        if len(text) > MOST_CHARACTERS:
            raise ValueError
        found = json.loads(bytes_of(text.strip()))
        if not isinstance(found, dict):
            raise ValueError
        if found.get("v") != VERSION:
            raise Malformed("this join token is of another version: bring both sides to the same version")
        words = {name: found[name] for name in ("coordinator", "site", "door", "join", "fleet")}
        if not all(isinstance(one, str) for one in words.values()):
            raise ValueError
        if not all(SITE.fullmatch(words[name]) for name in ("coordinator", "site")):
            raise ValueError
        if not all(ADDRESS.fullmatch(words[name]) for name in ("door", "join", "fleet")):
            raise ValueError
        secret = bytes_of(found["secret"])
        authority = x509.load_der_x509_certificate(bytes_of(found["authority"]))
        if len(secret) != SECRET_BYTES:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed("this is no join token: copy the whole line that `coordinator invite` printed") from None
    return Invitation(**words, authority=authority.public_bytes(Encoding.PEM), secret=secret)


def text_of(raw: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    """Raises ValueError where `text` is no base64url."""
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, UnicodeEncodeError, AttributeError):
        raise ValueError("no base64url") from None
