"""Hugging Face model definitions. Weights are read as safetensors only, and no code of a hub is run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from luodi.backends import need
from luodi.backends.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def load_encoder(location: str) -> Module:
    """Pretrained weights from a folder or a hub id."""
    transformers = _networks()
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(location, trust_remote_code=False)
    model: Module = transformers.AutoModel.from_pretrained(
        location, trust_remote_code=False, use_safetensors=True, dtype="float32", **_no_pooler(config.to_dict())
    )
    return model


def build_encoder(config: Mapping[str, Any]) -> Module:
    """The architecture with random weights."""
    transformers = _networks()
    typed = transformers.AutoConfig.for_model(**config)
    model: Module = transformers.AutoModel.from_config(typed, **_no_pooler(config))
    return model


def load_decoder(location: str) -> Module:
    """A causal language model with its pretrained weights, from a folder or a hub id."""
    transformers = _networks()
    transformers.utils.logging.disable_progress_bar()
    model: Module = transformers.AutoModelForCausalLM.from_pretrained(
        location, trust_remote_code=False, use_safetensors=True, dtype="float32"
    )
    return model


def build_decoder(config: Mapping[str, Any]) -> Module:
    """The same architecture with random weights."""
    transformers = _networks()
    model: Module = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    return model


def _networks() -> ModuleType:
    """The library with its networks. They load torchao along where that is installed, which then tells of kernels for
    other machines that it cannot load."""
    transformers = need("transformers")
    if "transformers.modeling_utils" not in sys.modules:
        with quiet():
            importlib.import_module("transformers.modeling_utils")
    return transformers


def full_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """With what goes without saying."""
    told: dict[str, Any] = need("transformers").AutoConfig.for_model(**config).to_dict()
    return told


def is_plain_llama(config: Mapping[str, Any]) -> bool:
    """Whether a network of the llama architecture has its usual layers: SiLU, no biases, positions neither stretched
    nor of another width."""
    full = full_config(config)
    turns = (full.get("rope_parameters") or {}).get("rope_type", "default")
    is_square = full["head_dim"] * full["num_attention_heads"] == full["hidden_size"] and full["hidden_act"] == "silu"
    return is_square and turns == "default" and not full.get("attention_bias") and not full.get("mlp_bias")


def cache_shape(config: Any) -> tuple[int, int, int]:
    """Layers, heads that have keys and values, width of a head: what a causal model remembers of one position."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, width


def cache_of(layers: Sequence[tuple[Tensor, Tensor]], config: Any) -> Any:
    """The library's own cache, filled with keys and values (B x heads x positions x width) of each layer."""
    library = need("transformers")
    cache = library.DynamicCache(config=config)
    for layer, (keys, values) in zip(cache.layers, layers, strict=False):
        # As its `lazy_initialization` does, but for the empty tensor that it begins with: OpenVINO cannot join those.
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        layer.keys, layer.values = keys, values
    return cache


def describe(location: str) -> Mapping[str, Any]:
    """What `build_encoder` needs to set the network of a folder or hub id up again, without its weights."""
    config = need("transformers").AutoConfig.from_pretrained(location, trust_remote_code=False)
    told: dict[str, Any] = config.to_diff_dict()
    other = ("transformers_version", "dtype", "architectures", "_name_or_path")
    return {k: v for k, v in told.items() if k not in other}


def find_file(location: str, name: str) -> Path | None:
    """Of a folder, or of a hub id, fetched; None where it has no such file."""
    if Path(location).is_dir():
        return Path(location, name) if Path(location, name).is_file() else None
    found = need("transformers.utils").cached_file(
        location, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return Path(found) if found else None


def _no_pooler(config: Mapping[str, Any]) -> dict[str, bool]:
    """BERT's pooler is trained for next-sentence prediction, ViT's for nothing; both are used by nothing here."""
    has_one = ("bert", "roberta", "xlm-roberta", "vit")
    return {"add_pooling_layer": False} if config.get("model_type") in has_one else {}
