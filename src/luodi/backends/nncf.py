"""NNCF: int8 for OpenVINO, of the weights alone or of the computation too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from luodi.backends import need
from luodi.backends import openvino as ir
from luodi.backends.quiet import quiet
from luodi.core.types import Batch

if TYPE_CHECKING:
    from openvino import Model  # type: ignore[import-untyped]

_WIDE_ROW = 32


def compress_weights(source: Path, folder: Path) -> None:
    """Weights and tables to int8, a scale for each row; tables that have been of 4 bits stay so. No data needed."""
    with quiet():
        nncf = _load()
        model = ir.read(source)
        mode = nncf.CompressWeightsMode.INT8_SYM
        tables = ir.packable(model)
        scope = nncf.IgnoredScope(names=[*_narrow_lookups(model), *tables])
        small = nncf.compress_weights(model, mode=mode, ignored_scope=scope)
    ir.save(ir.pack(small, tables), folder)


def quantize(source: Path, folder: Path, batches: Sequence[Batch]) -> None:
    """Calibrated int8: ranges of activations are measured on `batches` once and then fixed, so that, unlike with scales
    taken anew, an answer does not depend on its neighbours in the batch."""
    with quiet():
        nncf = _load()
        model = ir.read(source)
        inputs = [port.get_any_name() for port in model.inputs]
        # In the few shapes of service: calibration would spend most of its time on kernels for new ones.
        samples = nncf.Dataset([dict(ir.filled_up({name: batch[name] for name in inputs})) for batch in batches])
        tables = ir.packable(model)
        small = nncf.quantize(
            model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(names=[*_narrow_lookups(model), *tables]),
        )  # fmt: skip
    ir.save(ir.pack(small, tables), folder)


def _narrow_lookups(model: Model) -> list[str]:
    """Names of the lookups in tables of few columns, whose rows one scale would spoil: columns there may be of
    different kinds and sizes (a weight beside a count), and the table is small anyhow."""
    lookups = [op for op in model.get_ops() if op.get_type_name() == "Gather"]
    tables = {op.get_friendly_name(): op.input_value(0).get_partial_shape() for op in lookups}
    return [name for name, t in tables.items() if t.is_static and len(t) == 2 and t[1].get_length() < _WIDE_ROW]


def _load() -> ModuleType:
    ir.load()  # first: it turns telemetry off for both
    return need("nncf")
