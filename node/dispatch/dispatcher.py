"""Publishes the ids of jobs and deliveries, each in bounded time."""

import time
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import KombuError

from node.dispatch.celery_app import DELIVER_TASK, SEGMENT_TASK
from node.errors import NodeError


class BrokerDownError(NodeError):
    """A message could not be published; the job stays in the ledger, and the message is sent again later."""


class Dispatcher:
    """Publishes ids, each in bounded time; after a failure it does not contact the broker for `pause` seconds.

    A broker that is down must not block the caller: every message opens a new connection and tries it once; during
    the pause, publishing raises BrokerDownError at once.
    """

    def __init__(self, app: Celery, *, pause: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._pause = pause
        self._clock = clock
        self._down_until = 0.0

    def segment(self, job_id: str) -> None:
        """Wake a segmenting worker for this job; raises BrokerDownError."""
        self._publish(SEGMENT_TASK, job_id)

    def deliver(self, delivery_id: int | str) -> None:
        """Wake a delivering worker for this outbox row; raises BrokerDownError."""
        self._publish(DELIVER_TASK, delivery_id)

    def _publish(self, task: str, ident: int | str) -> None:
        if self._clock() < self._down_until:
            raise BrokerDownError("the broker is down; the node tries it again in a few seconds", retry=True)
        # Without max_retries kombu retries the connection without end, regardless of the `retry` of the publish.
        options = {**self._app.conf.broker_transport_options, "max_retries": 1, "interval_start": 0.1}
        connection = self._app.connection_for_write(transport_options=options)
        try:
            self._app.send_task(task, args=[ident], connection=connection, retry=False, ignore_result=True)
        except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
            self._down_until = self._clock() + self._pause
            kind = type(error).__name__
            raise BrokerDownError(f"the broker did not accept a message ({kind}): {error}", retry=True) from error
        finally:
            connection.release()
