"""Counters for Prometheus. No label names a user or a tenant."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "personakit_requests", "Requests.", ("route", "status"), registry=self.registry
        )
        self.seconds = self._histogram("request_seconds", "Duration of requests.", ("route",))
        self.base_seconds = self._histogram("base_seconds", "Duration of the base model's answers.")
        self.rewrite_seconds = self._histogram("rewrite_seconds", "Duration of rewrites, waiting included.")
        self.answers = Counter(
            "personakit_answers",
            "Answers: personalised, generic, or degraded to generic.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.batch_sizes = Histogram(
            "personakit_batch_size",
            "Requests per batch of a local model.",
            buckets=(1, 2, 4, 8, 16),
            registry=self.registry,
        )

    def text(self) -> tuple[bytes, str]:
        """Return all metrics as Prometheus reads them, and their content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _histogram(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Any:
        return Histogram(f"personakit_{name}", text, labels, buckets=_SECONDS, registry=self.registry)
