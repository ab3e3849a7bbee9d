"""Flower's state file: private, disposable, and made small between runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.federation.flower import adapter, bundle, superlink
from twinward.errors import Unready


def test_a_sound_file_is_kept(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with closing(sqlite3.connect(state)) as line:
        line.execute("create table t (a)")
        line.commit()
    before = state.read_bytes()
    superlink._sound(state)
    assert state.read_bytes() == before


def test_a_broken_file_is_put_away_with_its_journal(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    state.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    (tmp_path / "state.db-wal").write_bytes(b"rest")
    superlink._sound(state)
    assert list(tmp_path.iterdir()) == []


def test_no_file_yet(tmp_path: Path) -> None:
    superlink._sound(tmp_path / "state.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short\n"])
def test_a_secret_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(Unready):
        superlink._secret(tmp_path / "token")
    with pytest.raises(Unready):
        superlink._secret(tmp_path / "missing")


@pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")  # of Flower's migrations
def test_tidying_waits_for_runs_and_clears_what_they_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.common.constant import NOOP_FLWR_AID, SubStatus
    from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType

    for name in ("ca", "chain", "key"):
        (tmp_path / name).write_bytes(b"-")
    files = [tmp_path / name for name in ("ca", "chain", "key")]
    told: list[adapter.Act] = []
    app: Any = adapter.superlink_app(tmp_path / "state.db", bytes(32), files, lambda token: False, told.append)
    adapter.store_bundle(app, bundle.APP, bundle.bundle_bytes(), {})
    assert adapter.tidy(app)
    state = app.state.linkstate_factory.state()
    digest = bundle.bundle_sha256().hex()
    run = state.create_run(
        "twinward/federation", "1.0.0", digest, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
    )
    assert not adapter.tidy(app)
    state.finish_task(state.get_run_info(run_ids=[run])[0].primary_task_id, SubStatus.FAILED, "")
    cleared: list[int] = []
    monkeypatch.setattr(type(state), "cleanup_run", lambda self, number: cleared.append(number))
    assert adapter.tidy(app)
    assert cleared == [run]
