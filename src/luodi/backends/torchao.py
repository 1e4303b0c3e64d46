"""torchao: int8 weights for the linear layers of a torch network, symmetric, a scale for each output.

Of the library's two ways the one for weights alone is taken. On one core of a processor without VNNI (Zen 3), 1 x 32
tokens through 12 layers of width 384 take 0.87 to 1.00 of the time of fp32; with activations in int8 as well, 12 times
as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from luodi.backends import need
from luodi.backends.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def pack(model: Module) -> dict[str, Tensor]:
    """What a file has to hold: linear layers in int8, tables in 16 bits. Changes `model`, which is not run any more."""
    from torch.nn import Embedding

    _quantize(model)
    for module in model.modules():
        if isinstance(module, Embedding):
            module.half()
    return _plain_state(model)


def fill(model: Module, packed: Mapping[str, Tensor]) -> None:
    """`model`, with any weights, becomes the network that was packed."""
    _quantize(model)  # what the library keeps beside the numbers is its own affair: it sets that up itself
    state = _plain_state(model)
    for name, tensor in packed.items():
        state[name].copy_(tensor)


def _quantize(model: Module) -> None:
    """In place. A head that shares its weights with a table gets its own."""
    library = _load()
    library.quantize_(model, library.Int8WeightOnlyConfig(set_inductor_config=False))  # a setting of the whole process


def _plain_state(model: Module) -> dict[str, Tensor]:
    """Plain tensors that share the network's memory: of an int8 weight its numbers, under its name, and its scales."""
    kind = _load().Int8Tensor
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        is_int8 = isinstance(tensor, kind)
        found |= {name: tensor.qdata, f"{name}.scale": tensor.scale} if is_int8 else {name: tensor}
    return found


def _load() -> ModuleType:
    with quiet():  # it tells of kernels for other machines that it cannot load
        return need("torchao.quantization")
