"""People: their accounts, device codes and sessions. In memory: a restart asks them to log in again."""

from __future__ import annotations

import hmac
import threading
from dataclasses import dataclass
from pathlib import Path

from twinward.clock import Chance, Clock
from twinward.record import Purpose, Role

DEVICE_MS = 10 * 60_000
INTERVAL_S = 1  # a client may ask this often
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words; RFC 8628 6.1
MOST_WAITING = 1000
MOST_FAILURES = 5  # wrong passwords on one code

PURPOSES: dict[Role, tuple[Purpose, ...]] = {
    Role.CLINICIAN: (Purpose.TREATMENT, Purpose.TEACHING, Purpose.RESEARCH),
    Role.LEARNER: (Purpose.TEACHING,),
    Role.INSTRUCTOR: (Purpose.TEACHING,),
    Role.RESEARCHER: (Purpose.RESEARCH,),
    Role.DATA_STEWARD: (Purpose.OPERATIONS,),
    Role.PRIVACY_OFFICER: (Purpose.AUDIT, Purpose.OPERATIONS),
    Role.SECURITY_OFFICER: (Purpose.OPERATIONS,),
    Role.KEY_CUSTODIAN: (Purpose.OPERATIONS,),
    Role.AUDITOR: (Purpose.AUDIT,),
    Role.SITE_ADMIN: (Purpose.OPERATIONS,),
}


@dataclass
class Device:
    """A login that waits for a person at the approval page."""

    user_code: str
    until_ms: int
    wanted: Purpose | None
    asked_ms: int = 0
    failures: int = 0
    session: Session | None = None


@dataclass
class Session:
    """A person who has logged in; one purpose for its whole life."""

    sid: str
    role: Role
    purpose: Purpose
    until_ms: int
    refresh: str
    certificate: bytes | None = None  # SHA-256; the first one it is refreshed under stays


class Sessions:
    """All of them, behind one lock."""

    def __init__(self, people: Path, session_ms: int, clock: Clock, chance: Chance) -> None:
        self._people = people
        self._session_ms = session_ms
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._devices: dict[str, Device] = {}
        self._by_refresh: dict[str, Session] = {}
        self._spent: dict[str, str] = {}  # refresh token that was used -> sid

    def begin(self, purpose: str) -> tuple[str, Device]:
        """(device code, what the person types in); `purpose` is empty or one of record.Purpose."""
        now = self._clock.now_ms()
        with self._lock:
            self._devices = {code: one for code, one in self._devices.items() if one.until_ms > now}
            if len(self._devices) >= MOST_WAITING:
                self._devices.pop(next(iter(self._devices)))
            letters = [LETTERS[byte % len(LETTERS)] for byte in self._chance.bytes(8)]
            wanted = Purpose(purpose) if purpose in Purpose.__members__.values() else None
            device = Device("".join(letters[:4]) + "-" + "".join(letters[4:]), now + DEVICE_MS, wanted)
            code = self._chance.bytes(24).hex()
            self._devices[code] = device
            return code, device

    def waiting(self, user_code: str) -> Device | None:
        plain = user_code.upper().strip()
        now = self._clock.now_ms()
        with self._lock:
            for device in self._devices.values():
                if device.user_code == plain and device.until_ms > now and device.session is None:
                    return device
        return None

    def approve(self, user_code: str, account: str, password: str, purpose: str) -> str:
        """Empty when approved, else a sentence for the person."""
        device = self.waiting(user_code)
        if device is None or device.failures >= MOST_FAILURES:
            return "This code is not known or has ended. Start the login again."
        if account not in Role.__members__.values() or not self._password_fits(account, password):
            device.failures += 1
            return "Account or password is wrong."
        role = Role(account)
        chosen = purpose or (device.wanted or PURPOSES[role][0])
        if chosen not in PURPOSES[role]:
            return f"The role {role} may not work for this purpose, but for: {', '.join(PURPOSES[role])}."
        now = self._clock.now_ms()
        sid, refresh = self._chance.bytes(16).hex(), self._chance.bytes(32).hex()
        with self._lock:
            device.session = Session(sid, role, Purpose(chosen), now + self._session_ms, refresh)
            self._by_refresh[refresh] = device.session
        return ""

    def collect(self, device_code: str) -> Session | str:
        """The session of an approved code, once; else an error word of RFC 8628 3.5."""
        now = self._clock.now_ms()
        with self._lock:
            device = self._devices.get(device_code)
            if device is None or device.until_ms <= now:
                return "expired_token"
            if device.session is not None:
                del self._devices[device_code]
                return device.session
            if device.failures >= MOST_FAILURES:
                return "access_denied"
            early = now - device.asked_ms < INTERVAL_S * 500
            device.asked_ms = now
            return "slow_down" if early else "authorization_pending"

    def refresh(self, token: str, certificate: bytes | None) -> Session | None:
        """The session with a new refresh token; the old one is spent, and using it again ends the session."""
        now = self._clock.now_ms()
        with self._lock:
            self._by_refresh = {one: found for one, found in self._by_refresh.items() if found.until_ms > now}
            session = self._by_refresh.pop(token, None)
            if session is None:
                self._stolen(token)
                return None
            if session.certificate is not None and session.certificate != certificate:
                return None  # somebody else's certificate: the session is over
            session.certificate = certificate
            self._spent[token] = session.sid
            while len(self._spent) > MOST_WAITING:
                self._spent.pop(next(iter(self._spent)))
            session.refresh = self._chance.bytes(32).hex()
            self._by_refresh[session.refresh] = session
            return session

    def _stolen(self, token: str) -> None:
        sid = self._spent.get(token)
        if sid is not None:
            self._by_refresh = {one: found for one, found in self._by_refresh.items() if found.sid != sid}

    def _password_fits(self, account: str, password: str) -> bool:
        file = self._people / account
        try:
            known = file.read_text().strip()
        except OSError:
            return False
        return bool(known) and hmac.compare_digest(known.encode(), password.encode())
