"""A study's events: numbered without gaps, in the order in which they became true, each exactly once.

The number comes from the study's own row, so whoever adds one waits for the transaction before, and an event is seen
only together with what it tells of.
"""

from __future__ import annotations

from datetime import datetime

import psycopg

CHANNEL = "fed_event"  # payload: the study's number
DUE = "fed_due"  # something waits for the director
MOST_TEXT = 2000


def add_event(
    connection: psycopg.Connection, study: int, kind: str, text: str, at: datetime, round_: int | None = None
) -> None:
    """Inside the caller's transaction; listeners hear of it at its commit."""
    connection.execute(
        """
        with next as (update fed.study set events = events + 1 where number = %(study)s returning events)
        insert into fed.event (study, number, at, kind, text, round)
        select %(study)s, events, %(at)s, %(kind)s, %(text)s, %(round)s from next
        """,
        {"study": study, "at": at, "kind": kind, "text": text[:MOST_TEXT], "round": round_},
    )
    connection.execute("select pg_notify(%s, %s)", (CHANNEL, str(study)))
