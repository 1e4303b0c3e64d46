"""Low-rank adapters: a network learns by small matrices beside its own, which stay as they were pretrained.

LoRA (Hu et al. 2022, arXiv:2106.09685), for each matrix W (d x k) of a layer, with A (r x k) drawn at random, B (d x r)
zero at first, and r far below d and k:

    W' = W + B A

DoRA (Liu et al. 2024, arXiv:2402.09353) learns the length of each row apart from its direction, m beginning as the
lengths of W's rows:

    W' = m (W + B A) / |W + B A|

Both are plain matrices again when the run is over. The papers' factor alpha / r is 1 here: beside Adam it does what the
learning rate does (LoRA, section 4.1). All matrices of a layer have adapters, not those of queries and values alone:
Dettmers et al. 2023 (arXiv:2305.14314, section 4) needed that to reach what whole networks reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from luodi.errors import ConfigError
from luodi.messages import tr
from luodi.models.layers import stacks


@dataclass(frozen=True, slots=True)
class Adapters:
    """In place until `merge`."""

    tuner: Any

    def merge(self) -> None:
        """The network becomes an ordinary one, with the same answers."""
        from luodi.backends.peft import merge

        merge(self.tuner)


def add_adapters(model: nn.Module, kind: str, rank: int) -> Adapters:
    """Puts adapters (`kind`: lora, dora) beside all linear layers in the stacks of the network's encoder or decoder, of
    which nothing else learns any more; what the network has beside it, its head, does. Raises ConfigError where there
    is nothing to put them beside, ResourceError where peft is missing."""
    from luodi.backends.peft import inject

    trunk: Any = getattr(model, "encoder", None) or getattr(model, "decoder", None)
    names = [] if trunk is None else _linear_layers(trunk)
    if not names:
        message = tr("train.adapter: this network has no layers that an adapter could be put beside.")
        raise ConfigError(message, code="train.adapter", hint=tr("Leave train.adapter out."))
    return Adapters(inject(trunk, names, rank=rank, with_magnitudes=kind == "dora"))


def _linear_layers(trunk: nn.Module) -> list[str]:
    """Names of the modules of a stack's layers whose weight is one matrix; GPT-2's are of a class of their own."""
    lists = tuple(f"{name}." for name in stacks(trunk))
    return [
        name for name, module in trunk.named_modules()
        if name.startswith(lists) and not isinstance(module, nn.Embedding)
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]  # fmt: skip
