"""A network seen as a stack of layers: how deep a weight lies, the top drawn anew, activations computed twice.

The stack is the outermost list of layers, whatever its architecture calls it: BERT's `encoder.layer`, GPT-2's
`transformer.h`, LLaMA's `model.layers`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from luodi.errors import ConfigError
from luodi.messages import tr


def stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """Lists of layers that lie in no other list, by name, in the network's order."""
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return found


def depths(model: nn.Module) -> dict[str, int]:
    """How many layers lie above each weight: 0 for the top layer and what comes after it, the number of layers for
    what comes before the first (tables of tokens, positions)."""
    lists = stacks(model)
    before = max(map(len, lists.values()), default=0)
    found = {}
    for name, _ in model.named_parameters():  # in the order in which an input meets them
        owner = next((outer for outer in lists if name.startswith(f"{outer}.")), None)
        if owner is None:
            found[name] = before
        else:
            found[name] = len(lists[owner]) - 1 - int(name[len(owner) + 1 :].split(".")[0])
            before = 0
    return found


def draw_anew(network: nn.Module, count: int) -> None:
    """Gives the `count` top layers new random weights, as the network's own code draws them (Zhang et al. 2021,
    arXiv:2006.05987: what the top layers know of pre-training is in the way of small data). Raises ConfigError where
    there are not so many, or the network does not say how it draws."""
    draw: Callable[[nn.Module], None] | None = getattr(network, "_init_weights", None)
    layers = max(stacks(network).values(), key=len, default=nn.ModuleList())
    if draw is None or count > len(layers):
        message = tr("train.reinitialised_layers is {wanted}; this network has {count} layers that can be drawn anew.")
        told = message.format(wanted=count, count=len(layers) if draw else 0)
        raise ConfigError(told, code="train.reinitialised_layers", hint=tr("Lower it, or choose another model."))
    for layer in layers[len(layers) - count :]:
        for parameter in layer.parameters():
            setattr(parameter, "_is_hf_initialized", False)  # noqa: B010 - transformers passes over what it has loaded
        layer.apply(draw)


def compute_twice(model: nn.Module) -> None:
    """Layers keep their inputs alone and are run again when the gradient comes (Chen et al. 2016, arXiv:1604.06174):
    memory for one layer's activations, a third more time. By hand rather than by `transformers`, whose switch has two
    names in two versions and knows its own networks only. Raises ConfigError where there is no stack of layers."""
    layers = [layer for stack in stacks(model).values() for layer in stack]
    if not layers:
        message = tr("train.checkpointing: this network has no stack of layers that could be run twice.")
        raise ConfigError(message, code="train.checkpointing", hint=tr("Leave train.checkpointing out."))
    for layer in layers:
        layer.forward = _twice(layer, layer.forward)
    if hasattr(model, "remembers"):
        setattr(model, "remembers", False)  # noqa: B010 - a layer that is run twice would remember everything twice


def _twice(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not layer.training:
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
