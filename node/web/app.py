"""The Starlette app: the queue page, the page of a job, its pictures, `/healthz` and `/api/jobs`.

Read-only and without sign-in: it shows no patient names and serves no DICOM objects (they carry patient data).
"""

import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from node.dispatch.broker_health import BrokerWatch
from node.errors import NodeError, UnknownJobError
from node.files.disk_space import assess_disk_space, free_space
from node.files.store import FileStore
from node.ledger import Ledger
from node.records.jobs import Job
from node.records.states import JobState
from node.run.health import Health, assess
from node.settings.settings import Settings
from node.web.format import MEANINGS, age, clock, duration, size, state_class
from node.web.known_hosts import KnownHosts, own_names

MAX_SHOWN = 200  # jobs on the page; older ones are found by search or in the JSON
MAX_LISTED = 5000  # jobs in /api/jobs
SEARCH_MAX = 64
SERVED = {".png": "image/png", ".pdf": "application/pdf", ".json": "application/json"}
ANY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104 - the node listens on all addresses; none of these can be sent to

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Dashboard:
    """The endpoints; synchronous functions, which Starlette runs in threads because the ledger may block."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._store = FileStore(settings.data)
        self._ledger = ledger
        self._broker = BrokerWatch(settings)
        self._pages = Environment(
            loader=PackageLoader("node.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters |= {
            "state_class": state_class,
            "duration": duration,
            "age": age,
            "clock": clock,
            "size": size,
        }
        self._pages.globals |= {"states": list(JobState), "meanings": MEANINGS, "node": self._node()}
        self._pages.globals["file_path"] = self._store.path

    def queue(self, request: Request) -> Response:
        """Show the series, the newest first; the parameters `state` and `q` filter them."""
        state, search = _state(request), request.query_params.get("q", "").strip()[:SEARCH_MAX]
        jobs = self._ledger.queries.jobs(state=state, limit=MAX_SHOWN, search=search)
        counts = self._ledger.queries.counts()
        context = {"jobs": jobs, "counts": counts, "total": sum(counts.values()), "state": state, "search": search}
        return self._page(request, "queue.html", context | {"max_shown": MAX_SHOWN})

    def job(self, request: Request) -> Response:
        """Show one job with its history, results and deliveries."""
        job = self._job(request)
        pictures = [r for r in job.results if r.suffix == ".png" and self._store.path(r.key).is_file()]
        served = {r.name for r in job.results if r.suffix in SERVED and job.removed_at is None}
        context = {"job": job, "events": self._ledger.queries.events(job.id), "pictures": pictures, "served": served}
        return self._page(request, "job.html", context)

    def file(self, request: Request) -> Response:
        """Serve a picture or report of a job: only files the ledger names, never a path from the request."""
        job, name = self._job(request), request.path_params["name"]
        for result in job.results:
            path = self._store.path(result.key)
            if result.name == name and result.suffix in SERVED and path.is_file():
                return FileResponse(path, media_type=SERVED[result.suffix])
        if job.removed_at is not None:
            raise HTTPException(404, f"the files of job {job.id} were removed on {job.removed_at:%Y-%m-%d}")
        raise HTTPException(404, f"job {job.id} has no such picture or report")

    def api_jobs(self, request: Request) -> Response:
        """Return the jobs as `qct-node jobs --json` does; the parameters `state` and `q` filter them."""
        search = request.query_params.get("q", "").strip()[:SEARCH_MAX]
        jobs = self._ledger.queries.jobs(state=_state(request), limit=MAX_LISTED, search=search)
        return JSONResponse([job.to_dict(self._store.root) for job in jobs])

    def api_job(self, request: Request) -> Response:
        """Return one job and its history as `qct-node show --json` does."""
        job = self._job(request)
        events = [event.to_dict() for event in self._ledger.queries.events(job.id)]
        return JSONResponse(job.to_dict(self._store.root) | {"events": events})

    def healthz(self, request: Request) -> Response:
        """Answer 200 if the ledger can be read, all parts report and the disk has space, else 503 with the reasons."""
        health = self._health()
        return JSONResponse(health.to_dict(), 503 if health.stale else 200)

    def failed(self, request: Request, error: Exception) -> Response:
        """Return an error as a page, or as JSON for the JSON paths."""
        status = error.status_code if isinstance(error, HTTPException) else 503
        if isinstance(error, HTTPException):
            sentence = error.detail
        elif isinstance(error, NodeError):
            sentence = str(error)
        else:
            sentence = "the ledger cannot be read; the node's log says why"
        if request.url.path == "/healthz":
            return JSONResponse(Health((sentence,)).to_dict(), status)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": sentence}, status)
        page = self._pages.get_template("error.html").render(sentence=sentence, path=request.app.url_path_for)
        return HTMLResponse(page, status)

    def _page(self, request: Request, name: str, context: dict[str, Any]) -> Response:
        common = {"path": request.app.url_path_for, "now": self._ledger.now(), "health": self._health()}
        return HTMLResponse(self._pages.get_template(name).render(common | context))

    def _job(self, request: Request) -> Job:
        try:
            return self._ledger.queries.job(request.path_params["id"])
        except UnknownJobError as error:
            raise HTTPException(404, str(error)) from None

    def _health(self) -> Health:
        disk = assess_disk_space(free_space(self._settings.data), self._settings.intake)
        processes, every = self._ledger.processes.all(), self._settings.jobs.heartbeat_seconds
        return assess(processes, self._ledger.now(), every, disk, self._broker.fault(), self._ledger.outbox.backlogs())

    def _node(self) -> dict[str, Any]:
        own = self._settings.node
        host = platform.node() if own.dicom_host in ANY_ADDRESS else own.dicom_host
        return {"ae_title": own.ae_title, "dicom_host": host, "dicom_port": own.dicom_port}


def make_app(settings: Settings, ledger: Ledger | None = None) -> Starlette:
    """Return the app; it opens (and at its end closes) the ledger of the settings unless one is given."""
    opened = ledger or Ledger.of(settings)
    dashboard = Dashboard(settings, opened)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        if ledger is None:
            opened.close()

    routes = [
        Route("/", dashboard.queue, name="queue"),
        Route("/jobs/{id}", dashboard.job, name="job"),
        Route("/jobs/{id}/{name}", dashboard.file, name="file"),
        Route("/api/jobs", dashboard.api_jobs, name="api_jobs"),
        Route("/api/jobs/{id}", dashboard.api_job, name="api_job"),
        Route("/healthz", dashboard.healthz, name="healthz"),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static"),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(KnownHosts, names=own_names(settings.node.http_host, settings.node.http_names)),
            Middleware(BaseHTTPMiddleware, dispatch=_with_headers),
            Middleware(GZipMiddleware),
        ],
        exception_handlers={HTTPException: dashboard.failed, NodeError: dashboard.failed, Exception: dashboard.failed},
    )
    app.router.redirect_slashes = False  # a redirect would repeat the host of the request
    return app


async def _with_headers(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await proceed(request)
    response.headers.update(HEADERS)
    if not request.url.path.startswith("/static/"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _state(request: Request) -> JobState | None:
    word = request.query_params.get("state", "")
    if word and word not in list(JobState):
        raise HTTPException(400, f"unknown state; the states are: {', '.join(JobState)}")
    return JobState(word) if word else None
