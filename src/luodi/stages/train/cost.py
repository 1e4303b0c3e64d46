"""What a run costs: told before its first step, and again when it is over.

Time and memory are measured; the disk is an upper bound before the run, and measured after it; energy is time at a
power that nobody measured unless luodi.yaml says it. Money is time at its price.
"""

from __future__ import annotations

from dataclasses import dataclass

from luodi.core.disk import tell_size
from luodi.core.machine import peak_memory
from luodi.core.measure import Measure
from luodi.core.progress import clock_time
from luodi.messages import tr
from luodi.stages.train.plan import Plan
from luodi.stages.train.planning import scoring_share
from luodi.stages.train.setup import Setup

CORE_WATTS = 10.0
"""Of one busy core with its share of memory and fans: servers of 2020 to 2024 draw 250 to 400 W at 32 to 48 cores. A
rough figure, so it is always told with the energy."""
GRAPHICS_WATTS = 400.0
"""Of a graphics processor for data centres at work, as rough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    seconds: float
    memory_bytes: int
    """Most that the process has held at once; 0 where the system does not tell."""
    disk_bytes: int
    watts: float
    watt_hours: float
    price_per_hour: float
    money: float


def expected_cost(setup: Setup, plan: Plan) -> Cost:
    """Of the whole plan, from the speed of its first steps; a run whose score no longer rises ends sooner."""
    scores = -(-plan.steps // plan.evaluate_every)
    steps = plan.steps + scores * scoring_share(setup) * plan.steps_per_epoch
    return paid_cost(setup, plan, steps * plan.seconds_per_step)


def paid_cost(setup: Setup, plan: Plan, seconds: float) -> Cost:
    """`seconds`: of steps and scores; those of setting up come to them."""
    settings, whole = setup.settings, seconds + setup.seconds
    rough = plan.workers * (plan.threads * CORE_WATTS + (0.0 if plan.device == "cpu" else GRAPHICS_WATTS))
    watts, hours = settings.watts or rough, whole / 3600
    return Cost(
        seconds=whole, memory_bytes=peak_memory() or 0, disk_bytes=setup.disk_bytes, watts=watts,
        watt_hours=watts * hours, price_per_hour=settings.price_per_hour, money=settings.price_per_hour * hours,
    )  # fmt: skip


def tell_cost(cost: Cost) -> str:
    told = tr("{time}, {memory} of memory, at most {disk} of the disk, {energy:.2g} Wh at {watts:.0f} W").format(
        time=clock_time(cost.seconds), memory=tell_size(cost.memory_bytes), disk=tell_size(cost.disk_bytes),
        energy=cost.watt_hours, watts=cost.watts,
    )  # fmt: skip
    if not cost.price_per_hour:
        return told
    return told + tr(", {money:.2f} at {price:g} an hour").format(money=cost.money, price=cost.price_per_hour)


def cost_numbers(cost: Cost) -> dict[str, Measure]:
    told = {
        "run_seconds": Measure.exact(cost.seconds, unit="s"),
        "peak_memory_mb": Measure.exact(cost.memory_bytes / 1e6, unit="MB"),
        "energy_wh": Measure.exact(cost.watt_hours, unit="Wh"),
    }
    return {**told, "money": Measure.exact(cost.money)} if cost.price_per_hour else told
