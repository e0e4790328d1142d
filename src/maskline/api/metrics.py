"""/metrics: what the owners of figures tell, in Prometheus' text format. The only home of prometheus-client.

The text is made at most once a second, however many ask for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from maskline import __version__
from maskline.api.http import Answer, Request
from maskline.clock import Clock
from maskline.metrics import BUILD, METRICS, READY, Histogram, Kind, Metric, Sample
from maskline.store.depth import measure_outbox
from maskline.store.engine import Store, StoreRefused, StoreUnavailable

LIFE_S = 1.0

_log = structlog.get_logger(__name__)


class Owner(Protocol):
    """Whoever owns figures."""

    def measures(self) -> Iterable[Sample]:
        """What they are now."""


class Metrics(Collector):
    """The handler. `look` says what is ready and what not."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        look: Callable[[], Awaitable[dict[str, bool]]],
        owners: Sequence[Owner],
    ) -> None:
        self._store = store
        self._clock = clock
        self._look = look
        self._owners = owners
        self._samples: list[Sample] = []
        self._text = b""
        self._made_at: float | None = None
        self._making = asyncio.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def show(self, _: Request) -> Answer:
        async with self._making:
            now = self._clock.uptime()
            if self._made_at is None or now - self._made_at >= LIFE_S:
                self._samples = await self._measure()
                self._text = generate_latest(self._registry)
                self._made_at = now
        return Answer(self._text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _measure(self) -> list[Sample]:
        ready = await self._look()
        samples: list[Sample] = [(BUILD, (__version__,), 1), (READY, (), all(ready.values()))]
        try:
            samples += await self._store.read(measure_outbox)
        except (StoreUnavailable, StoreRefused) as error:  # the other figures are wanted all the more
            _log.warning("metrics.store_unavailable", error=str(error))
        for owner in self._owners:
            samples += owner.measures()
        return samples

    def collect(self) -> Iterator[Family]:
        """The samples, each metric's together, and with what has not come to pass yet as zero."""
        found: dict[Metric, dict[tuple[str, ...], float | Histogram]] = {
            metric: dict.fromkeys(metric.known, 0) if metric.kind is Kind.COUNTER else {}
            for metric in METRICS
        }
        for metric, labels, value in self._samples:
            found[metric][labels] = value
        for metric, values in found.items():
            yield _family(metric, values)


def _family(metric: Metric, values: dict[tuple[str, ...], float | Histogram]) -> Family:
    name, sentence, labels = metric.name, metric.sentence, metric.labels
    if metric.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(name, sentence, labels=labels)
        for at, histogram in values.items():
            assert isinstance(histogram, Histogram)
            ends = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
            buckets = list(zip(ends, accumulate(histogram.counts), strict=True))
            histograms.add_metric(at, buckets, histogram.total)
        return histograms
    figures = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(
        name, sentence, labels=labels
    )
    for at, figure in values.items():
        assert not isinstance(figure, Histogram)
        figures.add_metric(at, float(figure))
    return figures
