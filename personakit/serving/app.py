"""The application: routes, errors, limits and logs around a `Service`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from personakit import __version__
from personakit.serving import chat_api, page, users_api
from personakit.serving.errors import ApiError, handle_errors
from personakit.serving.limits import BodyLimit, OwnNames
from personakit.serving.logs import RequestLog, log
from personakit.serving.service import Service, ServiceOf

_HOUR = 3600.0


def create_app(service: Service) -> FastAPI:
    """Return the application. It applies retention every hour while it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        cleaning = asyncio.create_task(_apply_retention(service))
        yield
        cleaning.cancel()
        await service.answering.close()

    app = FastAPI(
        title="personakit",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from another site
        redoc_url=None,
    )
    app.state.service = service
    handle_errors(app)
    app.include_router(chat_api.router)
    app.include_router(users_api.router)
    app.include_router(page.router)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Tell that the process runs."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(service: ServiceOf) -> dict[str, str]:
        """Tell whether requests can be answered: the store is there, and the thread of local models runs."""
        await run_in_threadpool(service.store.check)
        if not service.answering.batcher.alive:
            raise ApiError(503, "the thread of the local models has ended")
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics(service: ServiceOf) -> Response:
        """Return metrics in Prometheus' format."""
        text, kind = service.metrics.text()
        return Response(text, media_type=kind)

    # From the outside in: the log, the limit of the body, the host's name.
    if service.open_to_all:
        app.add_middleware(OwnNames, needed=service.needs_no_key)
    app.add_middleware(BodyLimit, most=service.max_body_bytes)
    app.add_middleware(RequestLog, metrics=service.metrics)
    return app


async def _apply_retention(service: Service) -> None:
    while True:
        try:
            deleted = await run_in_threadpool(service.store.apply_retention)
            log.info("retention", extra={"facts": {"deleted": deleted}})
        except Exception:  # noqa: BLE001 - the next hour tries again
            log.exception("retention failed")
        await asyncio.sleep(_HOUR)
