"""A client certificate for a person's session, after its entry in the ledger.

A stolen token without the key of this certificate opens nothing
(`twinward/link/enrolment.py`).
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.auth.leaf import who
from services.auth.sequencer import Proposal, Sequencer
from twinward.clock import Clock
from twinward.errors import Unauthenticated
from twinward.ledger.kinds import Kind
from twinward.link.caller import Caller
from twinward.link.enrolment import EnrolmentAuthority


class Enrolment:
    def __init__(self, authority: EnrolmentAuthority, sequencer: Sequencer, issuer: str, clock: Clock) -> None:
        self._authority, self._sequencer, self._issuer, self._clock = authority, sequencer, issuer, clock

    def issue(self, caller: Caller, signing_request: bytes) -> tuple[bytes, int]:
        """Certificate chain (PEM) and its end in ms; the leaf `login` is durable first.

        Raises:
            Malformed: no PKCS#10 request with a P-256 key and its own signature.
            Unauthenticated, Unavailable
        """
        if caller.person is None:
            raise Unauthenticated("only people enrol; log in with `twinward login`")
        chain, until_ms = self._authority.issue(signing_request, caller.person.sub)
        der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
        body = {
            **who(caller, issuer=self._issuer),
            "act": "enrol",
            "certificate": hashlib.sha256(der).hexdigest(),
            "until_ms": until_ms,
            "now": self._clock.now_ms(),
        }
        self._sequencer.commit([Proposal(Kind.LOGIN, body)])
        return chain, until_ms
