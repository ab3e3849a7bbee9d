"""Celery, as small as it goes: one queue, one thread, messages that hold a job's id.

The broker is pgmq on the node's own PostgreSQL, or RabbitMQ where `broker_file` names a file with its address.
The truth is the table (jobs.py): a message may come twice or never. What else was learned:
- a pgmq message is seen again when its visibility ends, so that is longer than any job may take, and a job that
  is at work keeps its lock, so that a second message finds nothing to do;
- a task that raises is rejected without coming back, so ours never raises;
- gossip, mingle, events and remote control make queues of their own, so they are off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from celery import Celery
from kombu.entity import Queue
from psycopg.conninfo import make_conninfo

from twinward import telemetry
from twinward.errors import Unready
from twinward.settings import ProgramSettings

QUEUE = "twin_jobs"
TASK = "twin.run"
VISIBILITY_S = 1800  # twice what a job's lease lasts
POLL_S = 0.5

LOST = telemetry.event("broker-lost", "id", "error", "places")


def broker(settings: ProgramSettings, broker_file: Path | None, visibility_s: int = VISIBILITY_S) -> Celery:
    """A Celery application that knows one task and one queue.

    Raises:
        Unready: the file with RabbitMQ's address cannot be read, or says something else.
    """
    app = Celery("twin", set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_queues=[_queue()],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_detect_quorum_queues=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=0,  # a job keeps the one thread longer than a heartbeat waits
        broker_pool_limit=1,
    )
    if broker_file is not None:
        try:
            address = broker_file.read_text().strip()
        except OSError as error:
            raise Unready(
                "the file with the broker's address cannot be read: check broker_file", detail=str(error)
            ) from None
        if not address.startswith(("amqp://", "amqps://")):
            raise Unready("broker_file holds RabbitMQ's address: amqps://USER:PASSWORD@HOST/VHOST")
        app.conf.update(
            broker_url=address,
            task_queues=[_queue({"x-queue-type": "quorum"})],
            worker_detect_quorum_queues=True,
        )
        return app
    password = settings.database_password_file.read_text().strip()
    app.conf.update(
        broker_url="pgmq://",
        broker_transport_options={
            "conn_string": make_conninfo(settings.database, password=password),
            "init_extension": False,
            "visibility_timeout": visibility_s,
            "polling_interval": POLL_S,
            "wait_time_seconds": 0,
            "pool_size": 2,
        },
    )
    return app


def _queue(arguments: dict[str, str] | None = None) -> Queue:
    return Queue(QUEUE, durable=True, queue_arguments=arguments)  # type: ignore[no-untyped-call]


class Consumer:
    """Celery's worker in a thread of this process, one task at a time."""

    def __init__(self, app: Celery, run: Callable[[UUID], None]) -> None:
        self._app, self._run = app, run
        self._thread: threading.Thread | None = None
        self._worker: object | None = None

        @app.task(name=TASK, acks_late=True, reject_on_worker_lost=True, ignore_result=True)  # type: ignore[untyped-decorator]
        def run_job(job: str) -> None:
            try:
                self._run(UUID(job))
            except Exception as error:  # the outbox sends it again; a rejected message would be gone
                telemetry.LOG.unexpected(error, 0, LOST)

    def start(self) -> None:
        worker = self._app.WorkController(
            pool_cls="solo", concurrency=1, queues=[QUEUE], without_gossip=True, without_mingle=True,
            without_heartbeat=True, send_events=False, optimization="fair",
        )  # fmt: skip
        self._worker = worker
        self._thread = threading.Thread(target=worker.start, name="celery", daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self, grace_s: float) -> None:
        from celery.worker import state

        state.should_stop = 0  # Celery's word for: end when the task at hand is done
        if self._thread is not None:
            self._thread.join(grace_s)

    def send(self, job: UUID) -> None:
        """Raises what kombu raises where the broker does not answer."""
        self._app.send_task(TASK, (str(job),), queue=QUEUE, ignore_result=True)
