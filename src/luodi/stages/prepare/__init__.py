"""Sources to Dataset: typed, clean, without leaks, with every dropped row and its reason."""

from luodi.stages.prepare.clean import DroppedRow, write_dropped
from luodi.stages.prepare.config import PrepareSettings
from luodi.stages.prepare.datasheet import count_rows, tell_rows
from luodi.stages.prepare.prepare import Prepared, prepare
from luodi.stages.prepare.sources import source_identity

__all__ = [
    "DroppedRow", "PrepareSettings", "Prepared", "count_rows", "prepare", "source_identity", "tell_rows",
    "write_dropped",
]  # fmt: skip
