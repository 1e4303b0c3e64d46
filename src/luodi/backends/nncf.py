"""NNCF: int8 for OpenVINO, of the weights alone or of the computation too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from luodi.backends import need
from luodi.backends import openvino as ir
from luodi.backends.quiet import quiet
from luodi.core.types import Batch


def compress_weights(source: Path, folder: Path) -> None:
    """Weights and tables to int8, a scale for each row. No data needed."""
    with quiet():
        nncf = _load()
        model = nncf.compress_weights(ir.read(source), mode=nncf.CompressWeightsMode.INT8_SYM)
    ir.save(model, folder)


def quantize(source: Path, folder: Path, batches: Sequence[Batch]) -> None:
    """Calibrated int8: ranges of activations are measured on `batches` once and then fixed, so that, unlike with scales
    taken anew, an answer does not depend on its neighbours in the batch."""
    with quiet():
        nncf = _load()
        model = ir.read(source)
        inputs = [port.get_any_name() for port in model.inputs]
        samples = nncf.Dataset([{name: batch[name] for name in inputs} for batch in batches])
        small = nncf.quantize(
            model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches)
        )
    ir.save(small, folder)


def _load() -> ModuleType:
    ir.load()  # first: it turns telemetry off for both
    return need("nncf")
