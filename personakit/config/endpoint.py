"""The settings of a model behind an API. Its address and key are in the environment, never in a file."""

from __future__ import annotations

from dataclasses import dataclass

from personakit.config.schema import setting


@dataclass(unsafe_hash=True)  # opened models are remembered by it
class EndpointSettings:
    """How an OpenAI-compatible server is asked (models named openai:MODEL)."""

    requests_at_once: int = setting(
        8, "the most requests in flight: more is faster until it says 429", minimum=1
    )
    timeout: float = setting(120.0, "seconds one request may take before it is sent again", minimum=0.001)
    attempts: int = setting(
        6,
        "attempts of one request that may fail (connection, time-out, 5xx) before giving up; five times as "
        "many where the server is busy (429)",
        minimum=1,
    )
