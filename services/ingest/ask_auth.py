"""Admit over the wire: identifiers leave sealed to auth's key, so that no log and no
proxy on the way holds a medical record number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.ingest.admission import DEADLINE_S, MOST, Admitted, Wanted
from twinward.errors import TwinwardError, Unavailable
from twinward.vault import hpke
from twinward.vault.identifiers import Admission
from twinward.wire.codec.admission import AuthCalls, ToAdmit


@dataclass(frozen=True, slots=True)
class AskAuth:
    """`Admitting` by the auth service."""

    calls: AuthCalls
    public_key: hpke.PublicKey  # DIR/pki/admit.pub
    site: str

    def admit(self, feed: str, wanted: Sequence[Wanted]) -> list[Admitted]:
        """Raises Unavailable where auth does not answer within the deadline, or answers nonsense."""
        answers: list[Admitted] = []
        for start in range(0, len(wanted), MOST):
            part = [self._sealed(one) for one in wanted[start : start + MOST]]
            try:
                told = self.calls.admit(feed, part, DEADLINE_S)
            except TwinwardError as error:
                # Whatever it is (no answer, no token, busy): the data must not wait for it.
                raise Unavailable("auth does not admit patients now", detail=error.reason) from None
            if len(told) != len(part):
                raise Unavailable("auth answered for other patients than asked")
            answers.extend(Admitted(one.handle, one.refused) for one in told)
        return answers

    def _sealed(self, one: Wanted) -> ToAdmit:
        if one.handle is not None:
            return ToAdmit(b"", one.handle, one.categories)
        plaintext = Admission(one.names, one.categories).encode()
        info = hpke.INFO_ADMIT + self.site.encode()
        return ToAdmit(hpke.seal(self.public_key, plaintext, info), None, one.categories)
