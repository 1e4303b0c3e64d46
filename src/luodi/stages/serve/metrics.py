"""Counters of a service, in the text form that Prometheus reads (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Histogram:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Buckets count all values up to their bound."""
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._request_s = Histogram(SECONDS)
        self._batch_s = Histogram(SECONDS)
        self._batch_size = Histogram(SIZES)
        self._traffic: Counter[str] = Counter()

    def request(self, path: str, status: int, seconds: float) -> None:
        """`path` is a route of ours: a label that strangers choose would grow without end."""
        self._requests[path, status] += 1
        if path == "/predict":
            self._request_s.observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        self._batch_size.observe(size)
        self._batch_s.observe(seconds)

    def traffic(self, fate: str, count: int) -> None:
        """`fate`: "kept" or "lost"."""
        self._traffic[fate] += count

    def render(self, *, waiting: int, in_flight: int, is_ready: bool) -> str:
        return "\n".join(self._lines(waiting, in_flight, is_ready)) + "\n"

    def _lines(self, waiting: int, in_flight: int, is_ready: bool) -> Iterator[str]:
        yield "# TYPE luodi_requests_total counter"
        for (path, status), count in sorted(self._requests.items()):
            yield f'luodi_requests_total{{path="{path}",status="{status}"}} {count}'
        yield from self._request_s.lines("luodi_predict_seconds")
        yield from self._batch_s.lines("luodi_batch_seconds")
        yield from self._batch_size.lines("luodi_batch_inputs")
        if self._traffic:
            yield "# TYPE luodi_traffic_total counter"
            for fate, count in sorted(self._traffic.items()):
                yield f'luodi_traffic_total{{fate="{fate}"}} {count}'
        for name, value in (("queue_inputs", waiting), ("requests_in_flight", in_flight), ("ready", int(is_ready))):
            yield f"# TYPE luodi_{name} gauge"
            yield f"luodi_{name} {value}"
