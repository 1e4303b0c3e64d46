"""TensorBoard: event files, written with its own writer. Torch's writer makes the same and takes 3 s to import."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from luodi.backends import need
from luodi.core.tracking import Run


class TensorBoard:
    """Each resume writes a new file, which begins by declaring void what the others hold."""

    def __init__(self) -> None:
        self._writer: Any = None

    def begin(self, run: Run) -> str:
        events = need("tensorboard.compat.proto.event_pb2")
        writer = need("tensorboard.summary.writer.event_file_writer")
        place = run.folder / "tensorboard"
        self._writer = writer.EventFileWriter(str(place / run.name))
        # Readers drop all points from the step of a START on.
        start = events.SessionLog(status=events.SessionLog.START)
        self._writer.add_event(events.Event(wall_time=time.time(), step=0, session_log=start))
        self._add(0, [_table("settings", run.settings)])
        return f'tensorboard --logdir "{place}"'

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        value = need("tensorboard.compat.proto.summary_pb2").Summary.Value
        self._add(step, [value(tag=name, simple_value=number) for name, number in numbers.items()])

    def end(self, step: int, numbers: Mapping[str, float]) -> None:
        self.log(step, {f"final/{name}": number for name, number in numbers.items()})
        self._writer.close()

    def _add(self, step: int, values: list[Any]) -> None:
        events, summaries = (need(f"tensorboard.compat.proto.{name}_pb2") for name in ("event", "summary"))
        summary = summaries.Summary(value=values)
        self._writer.add_event(events.Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()  # it would keep them for two minutes


def _table(tag: str, told: Mapping[str, Any]) -> Any:
    """As its page of texts shows it: Markdown."""
    summaries, tensors = (need(f"tensorboard.compat.proto.{name}_pb2") for name in ("summary", "tensor"))
    types = need("tensorboard.compat.proto.types_pb2")
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in told.items())]
    tensor = tensors.TensorProto(dtype=types.DT_STRING, string_val=["\n".join(lines).encode()])
    metadata = need("tensorboard.plugins.text.metadata").create_summary_metadata(tag, "")
    return summaries.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)


def tracker() -> TensorBoard:
    """Raises ResourceError where the package is not installed."""
    need("tensorboard")
    return TensorBoard()
