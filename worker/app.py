"""The Celery app of the workers with its tasks, and one worker process from start to clean stop.

Celery's main process only communicates with the broker. A child process, a new interpreter, holds the model and runs
the jobs; it may be killed at any time.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from billiard.process import current_process
from celery import Celery, signals

from node.dispatch.celery_app import DELIVER_QUEUE, DELIVERY_THREADS, SEGMENT_QUEUE, make_app
from node.ledger import Ledger
from node.logs import configure_logging
from node.records.processes import ProcessKind
from node.run.process_heartbeat import ProcessHeartbeat
from node.settings.settings import Settings
from segmenter.errors import SegmenterError
from worker.heartbeat import INTERRUPT
from worker.segmentation import Segmenter, VNetSegmenter
from worker.tasks import DeliverTask, SegmentTask

log = logging.getLogger(__name__)

INTERRUPT_SECONDS = 0.5
KINDS = {SEGMENT_QUEUE: ProcessKind.SEGMENT_WORKER, DELIVER_QUEUE: ProcessKind.DELIVERY_WORKER}


class WorkerApp(Celery):  # type: ignore[misc]
    """A Celery app that can be sent to the worker's child process."""

    settings: Settings
    segmenter: Segmenter

    def __reduce__(self) -> tuple[Callable[..., "WorkerApp"], tuple[Any, ...]]:
        """Pickle settings and segmenter only: the child makes an app of its own from them."""
        return _app_in_child, (self.settings.model_dump(mode="json"), self.segmenter)


def make_worker_app(settings: Settings, segmenter: Segmenter | None = None) -> WorkerApp:
    """Return the app with both tasks; segmenter: by default the one of the settings."""
    app = make_app(settings, WorkerApp)
    app.settings = settings
    chosen = settings.segmenter
    app.segmenter = segmenter or VNetSegmenter(chosen.model, chosen.device, chosen.distal_mm, chosen.calibration)
    app.register_task(SegmentTask(settings, app.segmenter))
    app.register_task(DeliverTask(settings))
    return app


def run_worker(app: WorkerApp, queue: str) -> int:
    """Work on one queue until SIGTERM; return the exit code.

    `segment` has one child process, which may be killed without loss; `deliver` sends in threads.
    On SIGTERM a running segmentation is interrupted and its job returned to the queue.
    """
    segmenting = queue == SEGMENT_QUEUE
    signals.setup_logging.connect(_set_up_logging, weak=False)
    worker = app.Worker(
        hostname=f"{queue}@{socket.gethostname()}-{os.getpid()}",
        queues=[queue],
        pool="prefork" if segmenting else "threads",
        concurrency=1 if segmenting else DELIVERY_THREADS,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    ledger = Ledger.of(app.settings)
    heartbeat = ProcessHeartbeat(ledger, KINDS[queue], app.settings.jobs.heartbeat_seconds)

    def ready(**_: Any) -> None:
        heartbeat.start()

    def stopping(**_: Any) -> None:
        # A worker that is stopped while it starts has no pool yet.
        if segmenting and worker.pool is not None and worker.pool._pool is not None:
            pids = worker.pool.info["processes"]
            threading.Thread(target=_interrupt_until_ended, args=(pids,), daemon=True).start()

    signals.worker_ready.connect(ready)
    signals.worker_shutting_down.connect(stopping)
    worker.start()
    heartbeat.stop()
    return int(worker.exitcode or 0)


def _interrupt_until_ended(pids: Collection[int]) -> None:
    """Interrupt the children, so that their job is given back.

    An interrupt between two jobs has no effect, so it is repeated until the children have ended.
    """
    while pids := [pid for pid in pids if _interrupt(pid)]:
        time.sleep(INTERRUPT_SECONDS)


def _interrupt(pid: int) -> bool:
    """Interrupt a process; False when it has ended."""
    try:
        os.kill(pid, INTERRUPT)
    except ProcessLookupError:
        return False
    return True


def _app_in_child(settings: dict[str, Any], segmenter: Segmenter) -> WorkerApp:
    """Prepare the child process and return its app."""
    signal.signal(INTERRUPT, signal.SIG_IGN)  # until a job runs; the default would end the process
    signals.setup_logging.connect(_set_up_logging, weak=False)
    signals.worker_process_init.connect(partial(_child_starts, segmenter), weak=False)
    return make_worker_app(Settings(**settings), segmenter)


def _child_starts(segmenter: Segmenter, **_: Any) -> None:
    # Celery asks the kernel to kill this process with its parent, which has no effect if the parent has ended before.
    if os.getppid() != current_process()._parent_pid:
        os._exit(1)
    try:
        segmenter.preload()
    except SegmenterError as error:  # each job reports it, too
        log.error("the model cannot be loaded: %s", error)


def _set_up_logging(**_: Any) -> None:
    configure_logging()
