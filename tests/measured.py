"""Candidates with numbers as they were measured elsewhere."""

from __future__ import annotations

from luodi.core.measure import Measure
from luodi.stages.compress.choice import Row
from luodi.stages.compress.gate import Judged
from luodi.stages.compress.timing import Timing


def row(name: str, p50: float, size: float, refused: str = "", difference: float = 0.0) -> Row:
    def ms(value: float) -> Measure:
        return Measure.exact(value, unit="ms")

    times = Timing(
        p50_ms=ms(p50), p95_ms=ms(2 * p50), cpu_ms=ms(p50), batch_p50_ms=ms(8 * p50), batch_p95_ms=ms(9 * p50),
        throughput_per_s=ms(1000 / p50), speedup=ms(40 / p50),
    )
    judged = Judged(score=ms(0.9), difference=ms(difference), agreement=1.0)
    return Row(name=name, made_by=(), size_mb=size, judged=judged, times=times, refused=refused)
