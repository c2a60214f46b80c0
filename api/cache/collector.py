"""The cache's figures for Prometheus, counted up by the cache itself and collected when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from api.cache.answers import ResponseCache


class CacheCollector(Collector):
    """Reads the figures of a cache. A hit must not pay for being counted twice."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    def register(self, registry: CollectorRegistry) -> None:
        """Adds the figures to what the registry tells."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        cache, second = self._cache, self._cache.second
        answers = CounterMetricFamily(
            "streamgauge_cache_answers", "Answers of cached routes, by where they came from.", labels=["from"]
        )
        answers.add_metric(["memory"], cache.hits)
        answers.add_metric(["redis"], 0 if second is None else second.hits)
        answers.add_metric(["database"], cache.misses)
        yield answers
        yield CounterMetricFamily(
            "streamgauge_cache_invalidations",
            "Answers forgotten because of a commit.",
            value=cache.memory.invalidations,
        )
        yield CounterMetricFamily(
            "streamgauge_cache_evictions", "Answers forgotten for want of space.", value=cache.memory.evictions
        )
        yield CounterMetricFamily(
            "streamgauge_cache_redis_errors",
            "Times that Redis failed and was left alone for some seconds.",
            value=0 if second is None else second.errors,
        )
        yield GaugeMetricFamily("streamgauge_cache_bytes", "Bytes of the answers in memory.", value=cache.memory.bytes)
