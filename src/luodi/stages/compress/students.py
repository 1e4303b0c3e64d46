"""Smaller networks that learn to answer as the trained one does: of fewer layers, of narrower ones, of layers written
as products of lower rank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle
from luodi.core.progress import say
from luodi.core.types import Item
from luodi.messages import tr
from luodi.stages.compress.workshop import Workshop, drawn

JUDGED_ON = 400
"""Training rows on which it is judged what of a network matters."""
_LAYERS = "num_hidden_layers"


def no_lower(workshop: Workshop) -> str:
    if reason := no_student(workshop):
        return reason
    if not workshop.shape.layers:
        return tr("Fewer layers were not asked for, and are not needed.")
    depth = depth_of(workshop.trained)
    if workshop.shape.layers >= depth:
        return tr("The network has no more than {count} layers that could be left out.").format(count=depth)
    return ""


def no_narrower(workshop: Workshop) -> str:
    if reason := no_student(workshop):
        return reason
    if workshop.shape.width >= 1:
        return tr("Narrower layers were not asked for, and are not needed.")
    if workshop.shape.layers:
        return tr("The student of fewer layers is made narrower.")
    return "" if may_narrow(workshop.trained) else tr("It is not known how to make layers of this kind narrower.")


def no_low_rank(workshop: Workshop) -> str:
    if reason := no_student(workshop):
        return reason
    return tr("Layers of lower rank were not asked for.") if workshop.shape.rank >= 1 else ""


def no_student(workshop: Workshop) -> str:
    if reason := no_network(workshop):
        return reason
    if not workshop.shape:
        return tr("A smaller network was not asked for, and the other candidates keep the contract.")
    return "" if depth_of(workshop.trained) else tr("It is not known how to make a student of such a network.")


def no_network(workshop: Workshop) -> str:
    if workshop.trained.manifest.can_learn:
        return ""
    return tr("It is made from a network as it was trained; this Bundle is an exported one.")


def depth_of(bundle: Bundle[Any, Any]) -> int:
    """Layers of a network that a student can be made of; 0 where none can."""
    if not bundle.manifest.can_learn or _LAYERS not in bundle.manifest.network.get("config", {}):
        return 0
    from luodi.models.student import layers_of

    engine: Any = bundle.engine
    return layers_of(engine.model)


def may_narrow(bundle: Bundle[Any, Any]) -> bool:
    """Whether it is known how to take heads and units out of its layers."""
    if not depth_of(bundle):
        return False
    from luodi.models.student import can_be_cut

    engine: Any = bundle.engine
    return can_be_cut(engine.model)


def write_student(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    """Of fewer layers, of narrower ones, or both."""
    from luodi.models.student import choose_layers, student_of

    engine: Any = source.engine
    shape, depth = workshop.shape, depth_of(source)
    layers = shape.layers or depth
    judged = _judged(source, workshop)
    places = choose_layers(engine.model, source.task, judged, layers)
    student = student_of(engine.model, places, _kept(source, workshop, judged))
    times = _teach(source, student, workshop, draft)
    line = tr(
        "student: {layers} of {all} layers, {width:.0%} as wide, each row seen {times:.1f} times in {minutes:.1f} "
        "minutes."
    )
    minutes = workshop.settings.distill_minutes
    say(line.format(layers=layers, all=depth, width=shape.width, times=times, minutes=minutes))
    pruned = {"pruned": True} if shape.width < 1 else {}
    network = source.manifest.network
    return {**network, **pruned, "config": {**network["config"], _LAYERS: layers}}


def write_low_rank(source: Bundle[Any, Any], workshop: Workshop, draft: Path) -> Mapping[str, Any]:
    """The same layers, with fewer weights in each."""
    from luodi.models.low_rank import lower_rank
    from luodi.models.student import student_of

    engine: Any = source.engine
    student, share = student_of(engine.model, range(depth_of(source))), workshop.shape.rank
    lower_rank(student, source.task, _judged(source, workshop), share)
    times = _teach(source, student, workshop, draft)
    line = tr("student: {share:.0%} of the layers' weights, each row seen {times:.1f} times in {minutes:.1f} minutes.")
    say(line.format(share=share, times=times, minutes=workshop.settings.distill_minutes))
    return {**source.manifest.network, "low_rank": True}


def _teach(source: Bundle[Any, Any], student: Any, workshop: Workshop, draft: Path) -> float:
    """Saves what has learned; how often each row was seen. Killed on the way, it goes on from beside the draft."""
    from luodi.models.distil import Lessons, teach
    from luodi.models.engine import save_network

    engine: Any = source.engine
    items = source.task.encode([e.input for e in workshop.training], source.processor)
    seconds, learned = 60 * workshop.settings.distill_minutes, draft.with_suffix(".learned")
    how = Lessons(seconds=seconds, keep=learned, bfloat16=workshop.cpu.has_bf16)
    times = teach(engine.model, student, source.task, items, how)
    save_network(student, draft / "weights")
    learned.unlink(missing_ok=True)
    return times


def _kept(source: Bundle[Any, Any], workshop: Workshop, judged: list[Item]) -> Any:
    """Heads and units, `judged` on training rows with their answers; None where all are kept."""
    if workshop.shape.width >= 1 or not may_narrow(source):
        return None
    from luodi.models.student import choose_kept

    engine: Any = source.engine
    return choose_kept(engine.model, source.task, judged, workshop.shape.width)


def _judged(source: Bundle[Any, Any], workshop: Workshop) -> list[Item]:
    """Training rows with their answers, the same ones each time."""
    rows = drawn(workshop, JUDGED_ON)
    return list(source.task.encode([r.input for r in rows], source.processor, [r.target for r in rows]))
