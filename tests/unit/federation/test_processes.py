"""Forks draw numbers of their own, are reaped, and end with who made them."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import numpy as np
import psutil

from services.federation.flower.processes import Forks, reseed
from twinward.clock import SystemChance
from twinward.errors import Unavailable


class Queue:
    def __init__(self, tokens: list[str], stop: threading.Event, out: Path) -> None:
        self.tokens, self.stop, self.out = tokens, stop, out
        self.looks = 0

    def take(self) -> str:
        self.looks += 1
        if self.looks % 2:
            raise Unavailable("nobody there")
        if self.tokens:
            return self.tokens.pop()
        if len(list(self.out.iterdir())) == 3 or self.looks > 2000:
            self.stop.set()
        return ""


def test_each_child_draws_other_numbers(tmp_path: Path) -> None:
    np.random.seed(1)
    random.seed(1)

    def work(token: str) -> None:
        (tmp_path / f"{token}.new").write_text(f"{np.random.random()} {random.random()}")
        (tmp_path / f"{token}.new").rename(tmp_path / token)

    stop = threading.Event()
    queue = Queue(["a", "b", "c"], stop, tmp_path)
    forks = Forks(queue.take, work, SystemChance(), 2, 0.01)
    forks.run(stop)
    drawn = [(tmp_path / token).read_text().split() for token in "abc"]
    assert len({one for pair in drawn for one in pair}) == 6
    assert all(one.status() != psutil.STATUS_ZOMBIE for one in psutil.Process().children())


def test_children_end_with_the_executor(tmp_path: Path) -> None:
    stop = threading.Event()

    def work(token: str) -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        threading.Event().wait(60)

    taken = iter(["a"])

    def take() -> str:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            stop.set()
        return next(taken, "")

    Forks(take, work, SystemChance(), 2, 0.01).run(stop)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_reseeding_takes_chance_from_the_machine() -> None:
    class Fixed:
        def bytes(self, n: int) -> bytes:
            return bytes(range(n))

    reseed(Fixed())
    first = (random.random(), np.random.random())
    np.random.seed(2)
    random.seed(2)
    reseed(Fixed())
    assert (random.random(), np.random.random()) == first
