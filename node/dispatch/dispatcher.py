"""Publishes the ids of jobs and deliveries, each in bounded time."""

import time
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import KombuError

from node.dispatch.celery_app import DELIVER_TASK, SEGMENT_TASK
from node.errors import NodeError


class BrokerDownError(NodeError):
    """A message could not be published; the ledger keeps the work, and it is sent again later."""


class Dispatcher:
    """Publishes ids, each in bounded time; after a failure the broker is left alone for `pause` seconds.

    A dead broker must not hang its caller: the connection is new for every message (nothing stale is reused)
    and tried once; while the broker is known to be down, publishing raises BrokerDownError at once.
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
            raise BrokerDownError("The broker did not answer a moment ago; it is tried again shortly.", retry=True)
        # Without max_retries kombu tries to connect for ever, whatever the publish itself says.
        options = {**self._app.conf.broker_transport_options, "max_retries": 1, "interval_start": 0.1}
        connection = self._app.connection_for_write(transport_options=options)
        try:
            self._app.send_task(task, args=[ident], connection=connection, retry=False, ignore_result=True)
        except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
            self._down_until = self._clock() + self._pause
            kind = type(error).__name__
            raise BrokerDownError(f"The broker took no message ({kind}): {error}", retry=True) from error
        finally:
            connection.release()
