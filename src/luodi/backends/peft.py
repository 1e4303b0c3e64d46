"""Low-rank adapters put into a network's layers and taken out again. What peft adds stays within a run: a Bundle never
holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from luodi.backends import need
from luodi.backends.quiet import quiet

if TYPE_CHECKING:
    from torch.nn import Module


class Tuner(Protocol):
    def merge_and_unload(self, progressbar: bool = False, safe_merge: bool = False) -> Any: ...


def require() -> None:
    """Raises ResourceError where the package is not installed."""
    with quiet():  # torchao, which it loads along where that is installed, tells of kernels that it cannot load
        need("peft")


def inject(trunk: Module, names: Sequence[str], *, rank: int, with_magnitudes: bool) -> Tuner:
    """Freezes all of `trunk` and puts a pair of matrices, drawn by torch's generator, beside each of the linear layers
    called `names`."""
    peft, library = need("peft"), need("transformers")
    # GPT-2 writes its matrices the other way round; peft has to know, or says so by a warning.
    modules = dict(trunk.named_modules())
    is_turned = any(isinstance(modules[name], library.pytorch_utils.Conv1D) for name in names)
    config = peft.LoraConfig(
        r=rank, lora_alpha=rank, use_dora=with_magnitudes, target_modules=list(names), fan_in_fan_out=is_turned
    )
    tuner: Tuner = peft.LoraModel(trunk, config, "default")
    return tuner


def merge(tuner: Tuner) -> None:
    """W + BA takes the place of W; the network is again what it was before `inject`, in place."""
    tuner.merge_and_unload(safe_merge=True)
