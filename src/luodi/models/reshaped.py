"""Networks whose layers were given other sizes after they had been built: a configuration cannot tell them, the saved
weights do."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """In place of what stands there."""
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, module)


def fit_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives each linear layer the size that its saved weights have, and makes two of it where two were saved."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            saved, factors = weights.get(f"{name}.weight"), [weights.get(f"{name}.{i}.weight") for i in (0, 1)]
            has_bias = module.bias is not None
            if saved is not None and saved.shape != module.weight.shape:
                put(model, name, _sized(saved, has_bias))
            elif factors[0] is not None and factors[1] is not None:
                put(model, name, nn.Sequential(_sized(factors[0], False), _sized(factors[1], has_bias)))


def _sized(weight: Tensor, has_bias: bool) -> nn.Linear:
    outputs, inputs = weight.shape
    return nn.Linear(inputs, outputs, bias=has_bias)
