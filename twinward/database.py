"""Pooled connections of programs that outlive their database.

A database that was killed leaves connections behind that look open. Asking each one
before use would cost a round trip per decision; looking at its socket costs a few
microseconds and tells the same: a server that is gone has hung up.
"""

from __future__ import annotations

import select
from typing import Any, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

# The pool's own retries double their pause up to minutes; given up early, the next caller tries at once.
RECONNECT_S = 1.0
_MOST_READS = 16  # a server that ends says so in a message or two before it hangs up

CT = TypeVar("CT", bound=psycopg.Connection[Any])


def hung_up(connection: psycopg.Connection[Any]) -> bool:
    """Whether the other end of an idle connection is gone. No round trip: a server that
    vanished with its machine shows only when it is used."""
    if connection.closed:
        return True
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    for _ in range(_MOST_READS):
        if not socket.poll(0):
            return False
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            return True
        if connection.closed:
            return True
    return True


class LivePool(ConnectionPool[CT]):
    """Gives out connections whose server is still there.

    With `reconnect_timeout=RECONNECT_S` it connects again as soon as somebody asks.
    """

    def getconn(self, timeout: float | None = None) -> CT:
        """
        Raises:
            PoolTimeout: the database does not answer, or all connections are in use.
        """
        while True:
            connection = super().getconn(timeout)
            if not hung_up(connection):
                return connection
            connection.close()  # what comes back closed is replaced
            self.putconn(connection)
