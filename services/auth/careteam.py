"""FHIR R4 CareTeam -> who treats a patient, from when to when.

A participant counts while both its own period and the team's run, and only in a
team that is active. Names: `consent_fhir.actor_name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.auth.consent_fhir import actor_name, identity_of, interval
from twinward.errors import Malformed, TooLarge

MOST_BYTES = 256 * 1024
MOST_MEMBERS = 500


@dataclass(frozen=True, slots=True)
class Membership:
    actor: str
    from_ms: int
    until_ms: int | None  # exclusive


@dataclass(frozen=True, slots=True)
class Team:
    identity: str  # the same CareTeam in all its versions, within one feed
    members: tuple[Membership, ...]


def parse(body: bytes, received_ms: int) -> Team:
    """The team; without members where it is not active.

    A member without a start counts from `received_ms`: nobody gets a past.

    Raises:
        TooLarge, Malformed
    """
    if len(body) > MOST_BYTES:
        raise TooLarge(f"a CareTeam may have {MOST_BYTES // 1024} KiB at most")
    try:
        team = orjson.loads(body)
        if not isinstance(team, dict) or team.get("resourceType") != "CareTeam":
            raise Malformed("this is no FHIR CareTeam")
        name = identity_of(team)
        if team.get("status", "active") != "active":
            return Team(name, ())
        participants = team.get("participant") or []
        if len(participants) > MOST_MEMBERS:
            raise TooLarge(f"a CareTeam may have {MOST_MEMBERS} participants at most")
        found = [_member(one, team.get("period"), received_ms) for one in participants]
    except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError, OverflowError):
        raise Malformed("the CareTeam cannot be read; check it against FHIR R4") from None
    # One row a person: the longest of several memberships.
    best: dict[str, Membership] = {}
    for one in found:
        if one is not None and (one.actor not in best or _end(one) > _end(best[one.actor])):
            best[one.actor] = one
    return Team(name, tuple(best.values()))


def _end(one: Membership) -> float:
    return float("inf") if one.until_ms is None else one.until_ms


def _member(participant: Mapping[str, Any], team_period: object, received_ms: int) -> Membership | None:
    member = participant.get("member") or {}
    kind = str(member.get("reference", "Practitioner")).split("?")[0].rpartition("/")[0].rpartition("/")[2]
    if kind and kind not in ("Practitioner", "PractitionerRole"):
        return None
    actor = actor_name(member)
    if not actor:
        return None
    starts, ends = [], []
    for period in (team_period, participant.get("period")):
        from_ms, until_ms = interval(period)
        starts += [] if from_ms is None else [from_ms]
        ends += [] if until_ms is None else [until_ms]
    start = max(starts, default=received_ms)
    end = min(ends, default=None)
    return None if end is not None and end <= start else Membership(actor, start, end)
