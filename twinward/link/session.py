"""A person's session with a node: log in once, then every call carries a bound token.

1. device flow: the identity provider gives a code, the person approves it
2. the first token is bound to nothing and opens one door: enrolment
3. a key is made here; auth signs a certificate for it (Enrolment.IssueCertificate)
4. refreshing under mTLS with that certificate gives the token bound to it
5. from here on it is refreshed by itself, and kept in a private file for the next command

On a demo node the passwords of its people lie in DIR/secrets/people, so step 1
needs nobody. A person elsewhere gets the address and the code shown.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import re
import ssl
import tempfile
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twinward.clock import Clock, SystemClock
from twinward.errors import BadInput, Malformed, Unauthenticated, Unavailable
from twinward.link.client import channel
from twinward.link.https import Https
from twinward.link.reach import Reach, default_directory
from twinward.link.tokens import Issuer
from twinward.record import Purpose, Role
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc

CLIENT = "twinward-cli"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SPARE_MS = 60_000  # a token with less left is refreshed first
LOGIN_S = 600.0
DEADLINE_S = 30.0

Announce = Callable[[str, str], None]  # (address, code) for the person who has to approve


@dataclass
class Kept:
    """What lies in the private file."""

    access: str = ""
    ends_ms: int = 0
    refresh: str = ""
    key: str = ""  # PEM
    chain: str = ""  # PEM
    certificate_ends_ms: int = 0


class Session:
    """One person in one role. Also a `TokenSource`."""

    def __init__(self, reach: Reach, role: str, purpose: str | None, clock: Clock) -> None:
        """
        Raises:
            BadInput: no such role or purpose.
        """
        if role not in Role.__members__.values():
            raise BadInput(f"there is no role {role!r}: use one of {', '.join(Role)}")
        if purpose is not None and purpose not in Purpose.__members__.values():
            raise BadInput(f"there is no purpose {purpose!r}: use one of {', '.join(Purpose)}")
        self.role = role
        self.purpose = purpose
        self._reach = reach
        self._clock = clock
        self._file = _file(reach, role, purpose)
        self._kept = Kept()
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}

    @classmethod
    def open(cls, directory: Path | None, role: str, purpose: str | None) -> Session:
        """The session of `role`, logging in where that needs nobody.

        Raises:
            BadInput: no such role or purpose.
            Unauthenticated: somebody has to log in first; says how.
            Unready, Unavailable: the node is not up.
        """
        session = cls(Reach.of(directory or default_directory()), role, purpose, SystemClock())
        session.token()
        return session

    def channel(self, program: str) -> grpc.Channel:
        """A channel to "auth", "ingest", "twin", "sessions", "federation", "coordinator", with this person's token.

        Raises:
            Unauthenticated: the session is over.
            BadInput: there is no such program at a node of this kind.
        """
        address = self._reach.address(program)
        self.token()
        if program not in self._channels:
            identity = (self._kept.key.encode(), self._kept.chain.encode())
            self._channels[program] = channel(
                address, f"{program}.{self._reach.site}", self._reach.authority,
                identity, self, DEADLINE_S,
            )  # fmt: skip
        return self._channels[program]

    def close(self) -> None:
        for one in self._channels.values():
            one.close()
        self._channels.clear()

    def token(self) -> str:
        with self._lock:
            if self._fresh():
                return self._kept.access
            # Another command may use the same session: one of us refreshes, the other reads.
            with self._alone():
                self._read()
                if not self._fresh():
                    self._renew()
                    self._save()
            return self._kept.access

    def _read(self) -> None:
        """What another command left; not if it has another certificate than our open channels."""
        found = self._load()
        if not self._channels or found.chain == self._kept.chain:
            self._kept = found

    def login(self, announce: Announce | None) -> None:
        """Logs in anew. Without `announce` only a demo person can, whose password lies on the node.

        Raises:
            Unauthenticated: nobody approved, or the password is wrong.
        """
        with self._lock, self._alone():
            self._login(announce)
            self._save()

    def forget(self) -> None:
        """Ends the session on this machine."""
        self._kept = Kept()
        self._file.unlink(missing_ok=True)

    def _fresh(self) -> bool:
        return bool(self._kept.access) and self._kept.ends_ms - self._clock.now_ms() > SPARE_MS

    def _lasting(self) -> bool:
        """The certificate is good for a while."""
        return self._kept.certificate_ends_ms - self._clock.now_ms() > SPARE_MS

    def _renew(self) -> None:
        if self._kept.refresh and self._lasting():
            try:
                self._bind(self._kept.refresh)
                return
            except Unauthenticated:
                pass  # the session there is over; a demo person logs in again by themselves
        self._login(None)

    def _login(self, announce: Announce | None) -> None:
        https = Https(self._reach.ca_file)
        issuer = Issuer(self._reach.issuer, https)
        first = self._device_flow(https, issuer, announce)
        if not self._lasting():
            if self._channels:
                raise Unauthenticated("the login has ended: run the command again")
            self._enrol(str(first["access_token"]))
        self._bind(str(first["refresh_token"]))

    def _enrol(self, first: str) -> None:
        """A key of our own, and auth's certificate for it."""
        private = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
        enrol = channel(
            self._reach.address("enrol"), f"auth.{self._reach.site}", self._reach.authority, None,
            _Said(first), DEADLINE_S,
        )  # fmt: skip
        with enrol:
            issued = auth_pb2_grpc.EnrolmentStub(enrol).IssueCertificate(
                auth_pb2.IssueCertificateRequest(signing_request=request.public_bytes(Encoding.DER))
            )
        self._kept = Kept(
            key=private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            chain=issued.certificate_chain.decode(),
            certificate_ends_ms=issued.not_after_ms,
        )

    def _bind(self, refresh: str) -> None:
        """A token bound to our certificate, by refreshing under it."""
        with tempfile.TemporaryDirectory() as folder:  # `ssl` reads keys from files only
            pem = Path(folder) / "identity.pem"
            pem.touch(mode=0o600)
            pem.write_text(self._kept.key + self._kept.chain)
            https = Https(self._reach.ca_file, pem)
        endpoint = Issuer(self._reach.issuer, https).endpoint("token_endpoint")
        answer = https.post(endpoint, {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": refresh})
        if answer.status != 200:
            raise Unauthenticated("the login has ended: log in again with `twinward login`")
        self._take(answer.body)

    def _take(self, body: dict[str, object]) -> None:
        access, refresh, lifetime = body.get("access_token"), body.get("refresh_token"), body.get("expires_in")
        if not isinstance(access, str) or not isinstance(refresh, str) or not isinstance(lifetime, int):
            raise Malformed("the identity provider's answer holds no token")
        if self.role not in _roles(access):
            raise Unauthenticated(f"the login was approved in another role than {self.role}: start it again")
        self._kept.access, self._kept.refresh = access, refresh
        self._kept.ends_ms = self._clock.now_ms() + lifetime * 1000

    def _device_flow(self, https: Https, issuer: Issuer, announce: Announce | None) -> dict[str, object]:
        scope = "openid" + (f" purpose:{self.purpose}" if self.purpose else "")
        begun = https.post(issuer.endpoint("device_authorization_endpoint"), {"client_id": CLIENT, "scope": scope})
        if begun.status != 200:
            raise Unavailable("the identity provider does not start a login: see `twinward node status`")
        code, page = str(begun.body["user_code"]), str(begun.body["verification_uri"])
        if announce is None:
            self._approve(page, code)
        else:
            announce(str(begun.body.get("verification_uri_complete", page)), code)
        form = {"grant_type": DEVICE_GRANT, "client_id": CLIENT, "device_code": str(begun.body["device_code"])}
        interval = begun.body.get("interval")
        pause = float(interval) if isinstance(interval, int) else 5.0
        deadline = self._clock.monotonic() + LOGIN_S
        while self._clock.monotonic() < deadline:
            answer = https.post(issuer.endpoint("token_endpoint"), form)
            if answer.status == 200:
                return answer.body
            if answer.body.get("error") not in ("authorization_pending", "slow_down"):
                break
            time.sleep(pause)
        raise Unauthenticated("nobody approved the login in time: start it again with `twinward login`")

    def _approve(self, page: str, code: str) -> None:
        """What a demo person would type at the page."""
        try:
            password = (self._reach.people / self.role).read_text().strip()
        except OSError:
            raise Unauthenticated(f"log in first: `twinward --as {self.role} login`") from None
        form = {"user_code": code, "account": self.role, "password": password, "purpose": self.purpose or ""}
        status, text = _post_page(page, form, self._reach.ca_file)
        if status != 200:
            raise Unauthenticated(text)

    def _load(self) -> Kept:
        try:
            return Kept(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return Kept()

    def _save(self) -> None:
        half = self._file.with_suffix(".new")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(asdict(self._kept), out)
        half.rename(self._file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True, slots=True)
class _Said:
    said: str

    def token(self) -> str:
        return self.said


def _file(reach: Reach, role: str, purpose: str | None) -> Path:
    """Named after the site's authority too: never one node's session at another."""
    authority = hashlib.sha256(reach.authority + reach.issuer.encode()).hexdigest()[:16]
    return reach.sessions / "sessions" / authority / f"{role}-{purpose or 'usual'}.json"


def _roles(token: str) -> list[str]:
    """What our own token says, unverified: only to notice a mix-up. The doors verify it."""
    try:
        middle = token.split(".")[1]
        found = json.loads(urlsafe_b64decode(middle + "=" * (-len(middle) % 4))).get("roles")
    except (IndexError, ValueError, AttributeError):
        return []
    return [str(role) for role in found] if isinstance(found, list) else []


def _post_page(page: str, form: dict[str, str], ca_file: Path) -> tuple[int, str]:
    """(status, the sentence on the page) of a form sent to the approval page."""
    parts = urlsplit(page)
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
    try:
        connection.request("POST", parts.path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        text = answer.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        raise Unavailable("the identity provider does not answer: see `twinward node status`") from None
    finally:
        connection.close()
    found = re.search(r'<p class="problem">([^<]*)</p>', text)
    return answer.status, unescape(found[1]) if found else "the login was refused"
