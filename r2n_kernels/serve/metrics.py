"""Prometheus metrics of a server, all in its HTTP process: a worker's come back with its responses.

So there is nothing to add up over processes, no folder of files for it, and no global registry.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BATCH = "x-batch"  # header of a response: its place in its batch, and the batch's size
SECONDS = "x-predict-seconds"
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """These metrics count requests, and measure latency, batches and what is under way."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "r2n_requests", "Requests for an answer, by status", ["status"], registry=self.registry
        )
        self.latency = Histogram(
            "r2n_request_seconds", "From a request's head to its answer's end",
            buckets=LATENCIES, registry=self.registry,
        )  # fmt: skip
        self.batch = Histogram(
            "r2n_batch_size", "Requests in a batch", buckets=SIZES, registry=self.registry
        )
        self.predict = Histogram(
            "r2n_predict_seconds", "The model's time for a batch",
            buckets=LATENCIES, registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge(
            "r2n_requests_under_way", "Requests queued or being answered", registry=self.registry
        )

    def answered(self, status: int, headers: Mapping[str, str], seconds: float) -> None:
        """Count a request; the first of a batch stands for the batch."""
        self.requests.labels(str(status)).inc()
        self.latency.observe(seconds)
        place, _, size = headers.get(BATCH, "").partition("/")
        if place == "0":
            self.batch.observe(int(size))
            self.predict.observe(float(headers[SECONDS]))
