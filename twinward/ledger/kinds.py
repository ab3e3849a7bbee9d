"""What a ledger entry records. Numbers are frozen: append at the end, never reuse,
never rename (docs/formats.md has the table; a vector guards it)."""

from __future__ import annotations

from enum import IntEnum

from twinward.errors import Malformed


class Kind(IntEnum):
    """u16, kept below 32,768 because PostgreSQL's smallint is signed."""

    GRANT = 1
    DENY = 2
    SCREEN = 3
    UPKEEP = 4
    COMPACT = 5
    BREAK_GLASS = 6
    USE_REPORT = 7
    INGEST = 8
    CONSENT_CHANGE = 9
    POLICY_CHANGE = 10
    ROLE_CHANGE = 11
    CONFIG_CHANGE = 12
    FEED_CHANGE = 13
    MERGE = 14
    UNMERGE = 15
    ERASE = 16
    HOLD = 17
    RELEASE = 18
    KEY_EPOCH = 19
    KEY_CEREMONY = 20
    EXPORT = 21
    DISCLOSURE = 22
    DSR = 23
    STUDY_APPROVAL = 24
    FED_ROUND = 25
    BUDGET_SPEND = 26
    AUDIT_READ = 27
    LOGIN = 28
    LOGOUT = 29
    LOGIN_FAILED = 30
    REVIEW_CLOSE = 31
    INCIDENT = 32
    LOCKDOWN = 33
    BACKUP = 34
    RESTORE = 35
    DRILL = 36
    START = 37
    STOP = 38
    UPGRADE = 39
    CLOCK_STEP = 40
    SITE_JOIN = 41
    SITE_LEAVE = 42
    TWIN_FORK = 43
    RETENTION = 44
    RENEW = 45
    REVOKE = 46
    MANIFEST = 47
    INTAKE_FILE = 48
    REDRIVE = 49
    TWIN_CREATE = 50
    TOKEN_REFUSALS = 51
    SESSION_OPEN = 52
    SESSION_END = 53
    SESSION_ERASE = 54

    @property
    def word(self) -> str:
        """The name as bodies, tables and vault.md write it: `consent_change`."""
        return self.name.lower()

    @staticmethod
    def of(word: str) -> Kind:
        """Raises Malformed for a word that names no kind."""
        try:
            return Kind[word.upper()] if word == word.lower() else _unknown()
        except KeyError:
            return _unknown()


def _unknown() -> Kind:
    known = ", ".join(kind.word for kind in Kind)
    raise Malformed(f"this is no kind of ledger entry; known are {known}")


def word_of(number: int) -> str:
    """The kind's word, or `kind-<number>` for one that a newer version wrote."""
    try:
        return Kind(number).word
    except ValueError:
        return f"kind-{number}"
