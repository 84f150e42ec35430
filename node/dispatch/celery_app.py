"""The Celery app (JSON only, queues `segment` and `deliver`) and the dispatcher that publishes ids into it.

A message carries one id and nothing else. The ledger holds the state: a lost, duplicate or late message does no harm.
"""

from typing import Any, TypeVar

from celery import Celery

from node.ledger.outbox import ASSOCIATIONS_PER_PEER
from node.settings.settings import Settings

SEGMENT_TASK = "qct.segment"
DELIVER_TASK = "qct.deliver"
SEGMENT_QUEUE = "segment"
DELIVER_QUEUE = "deliver"
EMBEDDED = "embedded"
LEAST_DELIVERY_THREADS = 4

App = TypeVar("App", bound=Celery)


def delivery_threads(settings: Settings) -> int:
    """Return how many associations one delivering worker opens at one time: enough for each peer to have its share."""
    return max(LEAST_DELIVERY_THREADS, ASSOCIATIONS_PER_PEER * len(settings.peers))


def make_app(settings: Settings, app_class: type[App] = Celery) -> App:
    """Return the Celery app for these settings; tasks are bound by `worker.app`."""
    app: App = app_class("qct")
    app.conf.update(_common(settings))
    app.conf.update(_embedded(settings) if settings.node.broker_url == EMBEDDED else _remote(settings))
    return app


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_queues": {name: {"exchange": name, "routing_key": name} for name in (SEGMENT_QUEUE, DELIVER_QUEUE)},
        "task_create_missing_queues": False,
        "task_default_queue": SEGMENT_QUEUE,
        "task_routes": {SEGMENT_TASK: {"queue": SEGMENT_QUEUE}, DELIVER_TASK: {"queue": DELIVER_QUEUE}},
        "task_soft_time_limit": settings.jobs.soft_time_limit,
        "task_time_limit": settings.jobs.hard_time_limit,
        "worker_prefetch_multiplier": 1,
        # CUDA cannot be used after fork: each child is a new interpreter.
        "worker_pool_start_method": "spawn",
        # A child loads torch and the model before it reports that it is up.
        "worker_proc_alive_timeout": 180.0,
        "worker_lost_wait": 1.0,
        "worker_send_task_events": False,
        "worker_redirect_stdouts": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }


def _embedded(settings: Settings) -> dict[str, Any]:
    folder = settings.data / "broker"
    waiting, control = folder / "waiting", folder / "control"
    for path in (waiting, control):
        path.mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": "localhost",
        "broker_transport": "node.dispatch.filesystem_transport.Transport",
        "worker_enable_remote_control": False,
        "broker_transport_options": {
            "data_folder_in": str(waiting),
            "data_folder_out": str(waiting),
            "control_folder": str(control),
            "polling_interval": 0.2,
        },
    }


def _remote(settings: Settings) -> dict[str, Any]:
    config: dict[str, Any] = {"broker_url": settings.node.broker_url, "broker_connection_timeout": 3.0}
    if settings.node.broker_url.startswith(("redis", "rediss", "sentinel")):
        config["broker_transport_options"] = {
            # Longer than any job may run; a worker that dies earlier is noticed by its lease in the ledger.
            "visibility_timeout": settings.jobs.hard_time_limit + 300,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 3.0,
            "socket_timeout": 5.0,
            "socket_keepalive": True,
            "health_check_interval": 15,
        }
    return config
