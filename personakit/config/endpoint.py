"""The settings of a model behind an API; its URL and key come from the environment only."""

from __future__ import annotations

from dataclasses import dataclass

from personakit.config.schema import setting


@dataclass(unsafe_hash=True)  # a cache key of opened models
class EndpointSettings:
    """Requests to an OpenAI-compatible server (models named openai:MODEL)."""

    requests_at_once: int = setting(
        8,
        "maximum number of concurrent requests; a higher value is faster until the server answers 429",
        minimum=1,
    )
    timeout: float = setting(
        120.0, "timeout of one request in seconds; lower values retry slow requests sooner", minimum=0.001
    )
    attempts: int = setting(
        6,
        "failed attempts of one request (connection errors, timeouts, 5xx) before the run stops; higher "
        "values tolerate longer outages; 429 answers get five times as many",
        minimum=1,
    )
