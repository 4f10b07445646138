"""Prometheus metrics of the API and of the worker, each in a registry of its own."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

# In seconds. Objectives of latency are set on these bounds, so they are part of the contract.
ANSWER_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DELAY_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


def exposition(registry: CollectorRegistry) -> web.Response:
    """The registry as an answer to a scrape."""
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class ApiMetrics:
    """Counts and times answers by route."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "http_requests_total", "Answers given.", ["path", "method", "code"], registry=self.registry
        )
        # Counted when a request begins, as many libraries count: for objectives that are written on such a total.
        self._started = Counter(
            "http_requests_started_total", "Requests begun.", ["path", "method"], registry=self.registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's header to the end of its answer.",
            ["path"],
            buckets=ANSWER_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge("http_requests_in_flight", "Requests being answered.", registry=self.registry)
        # Looking a labelled child up costs more than counting on it: keep those seen.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def expect(self, path: str, method: str) -> None:
        """Make the series of a route, at zero: a judge takes one that is not there for one that cannot be read."""
        self._started.labels(path, method)
        self._requests.labels(path, method, "200")
        self._seconds.labels(path)

    def started(self, path: str, method: str) -> None:
        """Count one request as it begins."""
        self._started.labels(path, method).inc()

    def answered(self, path: str, method: str, code: int, seconds: float) -> None:
        """Count one answer."""
        key = (path, method, code)
        if key not in self._children:
            self._children[key] = (self._requests.labels(path, method, str(code)), self._seconds.labels(path))
        counter, histogram = self._children[key]
        counter.inc()
        histogram.observe(seconds)


class WorkerMetrics:
    """Counts and times jobs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.jobs = Counter("jobs_total", "Runs of jobs, by how they ended.", ["result"], registry=self.registry)
        for result in ("ok", "failed", "interrupted"):
            self.jobs.labels(result)  # a series that appears with its first failure hides that failure
        self.delay = Histogram(
            "job_queue_delay_seconds",
            "Time from a job's record to the start of its first run.",
            buckets=DELAY_BUCKETS_S,
            registry=self.registry,
        )
        self.seconds = Histogram(
            "job_duration_seconds", "Time that a run took.", buckets=DELAY_BUCKETS_S, registry=self.registry
        )
        self.in_flight = Gauge("jobs_in_flight", "Jobs held by this worker.", registry=self.registry)
        self.depth = Gauge("queue_depth", "Jobs that wait in the queue.", registry=self.registry)
        self.quiesced = Gauge("worker_quiesced", "1 while this worker takes no new jobs.", registry=self.registry)
