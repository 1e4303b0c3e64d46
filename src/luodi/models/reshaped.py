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
    """Gives each linear layer the size that its saved weights have, and makes as many of it as were saved."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            made = _saved(name, weights, module.bias is not None)
            is_same = isinstance(made, nn.Linear) and made.weight.shape == module.weight.shape
            if made is not None and not is_same:
                put(model, name, made)


def _saved(name: str, weights: Mapping[str, Tensor], has_bias: bool) -> nn.Module | None:
    """A layer, or the two whose product it is now, each of which may be a product again; None where it was not saved
    under its name, as with tied weights."""
    weight = weights.get(f"{name}.weight")
    if weight is not None:
        outputs, inputs = weight.shape
        return nn.Linear(inputs, outputs, bias=has_bias)
    if not any(key.startswith(f"{name}.0.") for key in weights):
        return None
    right, left = _saved(f"{name}.0", weights, False), _saved(f"{name}.1", weights, has_bias)
    return None if right is None or left is None else nn.Sequential(right, left)
