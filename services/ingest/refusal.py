"""Why an entry was not simply stored, in the words that programs act on."""

from __future__ import annotations

from twinward.errors import BadInput


class Unfit(BadInput):
    """One entry cannot be filed as it is; it goes to quarantine and the rest goes on.

    `word` is the machine word of the outcome, `public` says what to do.
    """

    reason = "UNFIT_ENTRY"  # its own: errors are found again by their reason

    def __init__(self, word: str, public: str) -> None:
        super().__init__(public)
        self.word = word


class Patientless(BadInput):
    """The entry belongs to no patient (an organisation, a drug): counted, not kept."""

    reason = "PATIENTLESS_ENTRY"

    def __init__(self, word: str, public: str) -> None:
        super().__init__(public)
        self.word = word
