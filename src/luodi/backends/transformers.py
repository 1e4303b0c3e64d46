"""Hugging Face model definitions. Weights are read as safetensors only, and no code of a hub is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from luodi.backends import need

if TYPE_CHECKING:
    from torch.nn import Module


def load_encoder(location: str) -> Module:
    """Pretrained weights from a folder or a hub id."""
    transformers = need("transformers")
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(location, trust_remote_code=False)
    model: Module = transformers.AutoModel.from_pretrained(
        location, trust_remote_code=False, use_safetensors=True, dtype="float32", **_no_pooler(config.to_dict())
    )
    return model


def build_encoder(config: Mapping[str, Any]) -> Module:
    """The architecture with random weights."""
    transformers = need("transformers")
    typed = transformers.AutoConfig.for_model(**config)
    model: Module = transformers.AutoModel.from_config(typed, **_no_pooler(config))
    return model


def load_decoder(location: str) -> Module:
    """A causal language model with its pretrained weights, from a folder or a hub id."""
    transformers = need("transformers")
    transformers.utils.logging.disable_progress_bar()
    model: Module = transformers.AutoModelForCausalLM.from_pretrained(
        location, trust_remote_code=False, use_safetensors=True, dtype="float32"
    )
    return model


def build_decoder(config: Mapping[str, Any]) -> Module:
    """The same architecture with random weights."""
    transformers = need("transformers")
    model: Module = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    return model


def describe(location: str) -> Mapping[str, Any]:
    """What `build_encoder` needs to set the network of a folder or hub id up again, without its weights."""
    config = need("transformers").AutoConfig.from_pretrained(location, trust_remote_code=False)
    told: dict[str, Any] = config.to_diff_dict()
    other = ("transformers_version", "dtype", "architectures", "_name_or_path")
    return {k: v for k, v in told.items() if k not in other}


def _no_pooler(config: Mapping[str, Any]) -> dict[str, bool]:
    """BERT's pooler is trained for next-sentence prediction and used by nothing here."""
    return {"add_pooling_layer": False} if config.get("model_type") in ("bert", "roberta", "xlm-roberta") else {}
