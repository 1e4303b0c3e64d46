"""Tokenizers without torch and without transformers: what a served text Bundle needs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.backends import need
from luodi.core.types import Item

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


@dataclass(frozen=True, slots=True)
class TextProcessor:
    tokenizer: Tokenizer

    def encode(self, parts: Sequence[Any]) -> list[Item]:
        """One item for each text, or pair of texts."""
        # The library's threads fork badly and gain nothing on two cores beside a model that uses both.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return [{"input_ids": np.asarray(e.ids, np.int64)} for e in self.tokenizer.encode_batch(list(parts))]

    @property
    def network(self) -> Mapping[str, Any]:
        return {"vocab_size": self.tokenizer.get_vocab_size()}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / FILE), pretty=False)


def open_processor(folder: Path) -> TextProcessor:
    tokenizer = need("tokenizers").Tokenizer.from_file(str(folder / FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return TextProcessor(tokenizer)


def load_processor(location: str) -> TextProcessor:
    """From a folder with tokenizer.json, or a hub id (and folders of older form) by way of transformers."""
    if (Path(location) / FILE).is_file():
        return open_processor(Path(location))
    slow = need("transformers").AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    tokenizer = slow.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return TextProcessor(tokenizer)


def train_processor(corpus: Iterable[str], *, vocabulary: int) -> TextProcessor:
    """Byte-pair pieces of words; Chinese characters and marks stand alone.

    Not the library's WordPiece trainer: it numbers its `##` pieces in the order of a randomly seeded hash map,
    so that two runs on the same texts give two vocabularies.
    """
    library = need("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = library.normalizers.Sequence([library.normalizers.NFKC(), library.normalizers.Lowercase()])
    before = library.pre_tokenizers
    alone = [before.Split(library.Regex(pattern), "isolated") for pattern in (r"\p{Han}", r"[\p{P}\p{S}&&[^▁]]")]
    tokenizer.pre_tokenizer = before.Sequence([before.Metaspace(), *alone])
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN, START, END], show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single=f"{START} $A {END}", pair=f"{START} $A {END} $B:1 {END}:1", special_tokens=[(START, 2), (END, 3)]
    )
    return TextProcessor(tokenizer)
