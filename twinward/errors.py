"""Every refusal of the house.

    TwinwardError
    ├── BadInput               INVALID_ARGUMENT     what came in is not what it should be
    │   ├── Malformed          ...                  cannot be read at all
    │   ├── TooLarge           ...                  over a stated limit
    │   ├── UnknownSetting     ...                  a settings file or variable names something we do not have
    │   └── Separated          ...                  no finite model fits the data best
    ├── Unauthenticated        UNAUTHENTICATED      no token, or one that is refused
    ├── Denied                 PERMISSION_DENIED    decided, and the answer is no
    │   ├── ConsentDenied      ...                  the patient's consent says no
    │   └── LeaseEnded         ...                  a lease is over, unknown or of somebody else
    ├── NotFound               NOT_FOUND
    ├── Conflict               ALREADY_EXISTS       same key, other content
    ├── Unready                FAILED_PRECONDITION  the state does not allow it now; says what to do first
    ├── Busy                   RESOURCE_EXHAUSTED   back-pressure; try again later
    ├── Unavailable            UNAVAILABLE          something needed does not answer
    ├── Tampered               DATA_LOSS            what is stored is not what was stored
    │   └── Incomplete         ...                  something that was stored is missing
    └── Cancelled              CANCELLED

`public` is one sentence for the person who sees it, without patient data;
`detail` is for whoever runs the node and never leaves it. `reason` is the word a
program acts on.
"""

from __future__ import annotations

from typing import ClassVar


class TwinwardError(Exception):
    code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, public: str, *, detail: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.detail = detail


class BadInput(TwinwardError):
    code = "INVALID_ARGUMENT"
    reason = "BAD_INPUT"


class Malformed(BadInput):
    reason = "MALFORMED"


class TooLarge(BadInput):
    reason = "TOO_LARGE"


class UnknownSetting(BadInput):
    reason = "UNKNOWN_SETTING"


class Separated(BadInput):
    reason = "SEPARATED"


class Unauthenticated(TwinwardError):
    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class Denied(TwinwardError):
    code = "PERMISSION_DENIED"
    reason = "DENIED"


class ConsentDenied(Denied):
    reason = "CONSENT_DENIED"


class LeaseEnded(Denied):
    reason = "LEASE_ENDED"


class NotFound(TwinwardError):
    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class Conflict(TwinwardError):
    code = "ALREADY_EXISTS"
    reason = "CONFLICT"


class Unready(TwinwardError):
    code = "FAILED_PRECONDITION"
    reason = "UNREADY"


class Underage(Unready):
    """Under 18: models, priors and limits are adults'."""

    reason = "UNDER_18"


class Busy(TwinwardError):
    code = "RESOURCE_EXHAUSTED"
    reason = "BUSY"


class Unavailable(TwinwardError):
    code = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class Tampered(TwinwardError):
    code = "DATA_LOSS"
    reason = "TAMPERED"


class Incomplete(Tampered):
    reason = "INCOMPLETE"


class Cancelled(TwinwardError):
    code = "CANCELLED"
    reason = "CANCELLED"


def every_error() -> dict[str, type[TwinwardError]]:
    """Reason -> type, for turning a refusal that came over the wire back into its type.

    Types without a reason of their own, or that are not made of a sentence alone, are
    left out: whoever gets such a refusal makes the general type of its code of it.
    """
    found: dict[str, type[TwinwardError]] = {}
    waiting: list[type[TwinwardError]] = [TwinwardError]
    while waiting:
        kind = waiting.pop(0)  # parents first: nobody takes a reason that is taken
        if "reason" in vars(kind) and kind.__init__ is TwinwardError.__init__:
            found.setdefault(kind.reason, kind)
        waiting.extend(kind.__subclasses__())
    return found
