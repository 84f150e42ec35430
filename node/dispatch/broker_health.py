"""Whether the broker takes messages: asked directly, because nothing is lost while it is away and nobody notices."""

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from node.settings.settings import Settings

PROBE = "qct-node-probe"
TIMEOUT_SECONDS = 1.0
FRESH_SECONDS = 5.0


def broker_fault(settings: Settings) -> str:
    """Return one sentence that says what is wrong with the broker, empty if it takes messages.

    A write tells more than PING: a server that is full, a replica, or one that cannot save to its disk answers PING.
    The embedded broker is a folder under `data`, whose own check says more.
    """
    url = settings.node.broker_url
    if urlsplit(url).scheme not in {"redis", "rediss"}:
        return ""
    timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    try:
        with Redis.from_url(url, **timeouts) as server:
            server.set(PROBE, "", ex=10)
    except (AuthenticationError, NoPermissionError):
        return _sentence("refuses user or password: correct node.broker_url")
    except TimeoutError:
        return _sentence(f"does not answer within {TIMEOUT_SECONDS:g} s")
    except ResponseError as error:
        return _sentence(f"takes no messages: {_cause(error)}")
    except (RedisError, OSError, ValueError) as error:
        return _sentence(f"cannot be reached ({type(error).__name__}): start it, or correct node.broker_url")
    return ""


class BrokerWatch:
    """Asks at most every few seconds, so that a page that is refreshed often does not wait for a dead broker."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._asked = -FRESH_SECONDS
        self._fault = ""
        self._lock = threading.Lock()

    def fault(self) -> str:
        """Return what `broker_fault` said just now or a few seconds ago."""
        with self._lock:
            if self._clock() - self._asked >= FRESH_SECONDS:
                self._fault = broker_fault(self._settings)
                self._asked = self._clock()
            return self._fault


def _sentence(what: str) -> str:
    return f"the broker (Redis) {what}; jobs wait in the ledger meanwhile, and nothing is lost"


def _cause(error: ResponseError) -> str:
    """Return why Redis refuses to write, in our words: its own may quote addresses or commands."""
    known = ((OutOfMemoryError, "its memory is full"), (ReadOnlyError, "it is a read-only replica"))
    for kind, words in known:
        if isinstance(error, kind):
            return words
    return "it cannot save to its disk" if str(error).startswith("MISCONF") else "see its log"
