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

from node.dispatch.celery_app import DELIVER_QUEUE, SEGMENT_QUEUE, delivery_threads, make_app
from node.ledger import Ledger
from node.logs import configure_logging
from node.records.processes import ProcessKind
from node.run.process_heartbeat import ProcessHeartbeat
from node.scu.stop_signal import StopSignal
from node.settings.settings import Settings
from segmenter.errors import SegmenterError
from worker.heartbeat import INTERRUPT
from worker.segmentation import Segmenter, VNetSegmenter
from worker.tasks import DeliverTask, SegmentTask
from worker.watchdog import Pulse, Watchdog

log = logging.getLogger(__name__)

INTERRUPT_SECONDS = 0.5
LEAST_FROZEN_SECONDS = 10.0
FROZEN_LEASES = 2
"""A child without a pulse for so many leases is killed. Its job's lease has run out before, and is given away then."""
KINDS = {SEGMENT_QUEUE: ProcessKind.SEGMENT_WORKER, DELIVER_QUEUE: ProcessKind.DELIVERY_WORKER}


class WorkerApp(Celery):  # type: ignore[misc]
    """A Celery app that can be sent to the worker's child process."""

    settings: Settings
    segmenter: Segmenter
    stop_delivering: StopSignal

    def __reduce__(self) -> tuple[Callable[..., "WorkerApp"], tuple[Any, ...]]:
        """Pickle settings and segmenter only: the child makes an app of its own from them."""
        return _app_in_child, (self.settings.model_dump(mode="json"), self.segmenter)


def make_worker_app(settings: Settings, segmenter: Segmenter | None = None) -> WorkerApp:
    """Return the app with both tasks; segmenter: by default the one of the settings."""
    app = make_app(settings, WorkerApp)
    app.settings = settings
    app.stop_delivering = StopSignal()
    chosen = settings.segmenter
    app.segmenter = segmenter or VNetSegmenter(chosen.model, chosen.device, chosen.distal_mm, chosen.calibration)
    app.register_task(SegmentTask(settings, app.segmenter))
    app.register_task(DeliverTask(settings, app.stop_delivering))
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
        concurrency=1 if segmenting else delivery_threads(app.settings),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    jobs = app.settings.jobs
    watchdog = Watchdog(
        Pulse.create(), partial(_children, worker), max(LEAST_FROZEN_SECONDS, FROZEN_LEASES * jobs.lease_seconds)
    )
    heartbeat = ProcessHeartbeat(
        Ledger.of(app.settings), KINDS[queue], jobs.heartbeat_seconds, lambda: watchdog.healthy
    )
    done = threading.Event()

    def ready(**_: Any) -> None:
        heartbeat.start()
        if segmenting:
            threading.Thread(target=watchdog.run, args=(done,), name="watchdog", daemon=True).start()

    def stopping(**_: Any) -> None:
        app.stop_delivering.set()
        done.set()
        if segmenting and (pids := _children(worker)):
            threading.Thread(target=_interrupt_until_ended, args=(pids,), daemon=True).start()

    signals.worker_ready.connect(ready)
    signals.worker_shutting_down.connect(stopping)
    worker.start()
    heartbeat.stop()
    return int(worker.exitcode or 0)


def _children(worker: Any) -> list[int]:
    """Return the process ids of the pool's children; a worker that is still starting has none yet."""
    pool = worker.pool._pool if worker.pool is not None else None
    return [process.pid for process in pool._pool] if pool is not None else []


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
    if (pulse := Pulse.of_parent()) is not None:
        pulse.beat_for_ever()
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
