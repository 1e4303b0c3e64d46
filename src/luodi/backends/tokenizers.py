"""Tokenizers without torch and without transformers: what a served text Bundle needs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luodi.backends import need
from luodi.core.types import Array, Item

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
MASKS = ("[MASK]", "<mask>")
"""What stands for a missing word: BERT's, which is also ours, and RoBERTa's."""
STOP = "<end>"
ENDS = (STOP, "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<eos>")
"""What generating models end a text with: ours, then those of the families that are in use. The first that a
vocabulary has is trained with; each of them ends an answer."""
ALPHABET = 0.9
"""Largest share of a vocabulary that single characters may take: the rest is for frequent words."""
_WITHOUT_SPACES = ("Han", "Hiragana", "Katakana", "Hangul", "Thai", "Lao", "Khmer", "Myanmar")


@dataclass(frozen=True, slots=True)
class TextProcessor:
    tokenizer: Tokenizer

    def encode(self, parts: Sequence[Any]) -> list[Item]:
        """One item for each text, or pair of texts: `input_ids` (T), and as `offsets` (T x 2) from which character to
        which each piece stands; equal ends for special ones."""
        # The library's threads fork badly and gain nothing on two cores beside a model that uses both.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        encoded = self.tokenizer.encode_batch(list(parts))
        return [
            {"input_ids": np.asarray(e.ids, np.int64), "offsets": np.asarray(e.offsets, np.int32).reshape(-1, 2)}
            for e in encoded
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens; marks that stand for no text are left out."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)

    @property
    def ends(self) -> tuple[int, ...]:
        found = (self.tokenizer.token_to_id(word) for word in ENDS)
        return tuple(i for i in found if i is not None)

    @property
    def marks(self) -> tuple[str, ...]:
        """Words that the tokenizer takes for marks wherever they stand: a stranger's text must not hold any."""
        return tuple(t.content for t in self.tokenizer.get_added_tokens_decoder().values() if t.special)

    @property
    def mask(self) -> int | None:
        """What stands for a missing word; None where the vocabulary has no such mark."""
        found = (self.tokenizer.token_to_id(word) for word in MASKS)
        return next((i for i in found if i is not None), None)

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
    # "first": a text that goes on after a mark is not a new text.
    tokenizer.pre_tokenizer = before.Sequence([before.Metaspace(prepend_scheme="first"), *alone])
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN, START, END], show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single=f"{START} $A {END}", pair=f"{START} $A {END} $B:1 {END}:1", special_tokens=[(START, 2), (END, 3)]
    )
    return TextProcessor(tokenizer)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What one has to know of a tokenizer to hide pieces and to show them."""

    mask: int
    mask_word: str
    special: Array
    """Pieces that are no part of a text, or nothing to the eye: the mark of a beginning word by itself."""
    size: int
    words: Mapping[int, str]
    """Pieces as a reader would write them."""


@lru_cache(maxsize=4)
def vocabulary_of(processor: TextProcessor) -> Vocabulary:
    """Of a tokenizer with a mark for missing words."""
    tokenizer = processor.tokenizer
    marks = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    words = {i: "" if i in marks else _to_the_eye(tokenizer, i) for i in range(tokenizer.get_vocab_size())}
    mask = processor.mask
    assert mask is not None
    special = np.array([i for i, word in words.items() if not word], np.int64)
    return Vocabulary(mask, str(tokenizer.id_to_token(mask)), special, len(words), words)


def _to_the_eye(tokenizer: Tokenizer, piece: int) -> str:
    told = tokenizer.decode([piece]) if tokenizer.decoder is not None else tokenizer.id_to_token(piece) or ""
    return str(told.replace("▁", " ").removeprefix("##").strip())


def with_mask(processor: TextProcessor) -> TextProcessor:
    """The same one, with a mark for missing words behind its vocabulary where it has none. The space before the mark
    belongs to it, as it belongs to the word that is missing."""
    if processor.mask is None:
        token = need("tokenizers").AddedToken(MASKS[0], lstrip=True, normalized=False, special=True)
        processor.tokenizer.add_special_tokens([token])
    return processor


def by_units(processor: TextProcessor) -> TextProcessor:
    """The same one, whose pieces stop where characters of scripts without spaces, digits, letters and marks meet. Byte
    tokenizers turn a character into several signs, so their texts are cut before that."""
    library = need("tokenizers")
    before, tokenizer = library.pre_tokenizers, processor.tokenizer
    scripts = "".join(rf"\p{{{name}}}" for name in _WITHOUT_SPACES)
    patterns = (rf"[{scripts}]", r"[\p{P}\p{S}&&[^▁]]", r"\p{N}+")
    cuts = [before.Split(library.Regex(pattern), "isolated") for pattern in patterns]
    own = [tokenizer.pre_tokenizer] if tokenizer.pre_tokenizer is not None else []
    in_bytes = "ByteLevel" in repr(own)
    tokenizer.pre_tokenizer = before.Sequence([*cuts, *own] if in_bytes else [*own, *cuts])
    return processor


def train_writer(corpus: Iterable[str], *, vocabulary: int) -> TextProcessor:
    """Characters and frequent words, for a model that writes: `decode(encode(text)) == text` for every text.

    Case, width and spaces stay. A character that the corpus has too rarely becomes its UTF-8 bytes. The end of a text
    is an entry of the vocabulary that no text leads to, so nobody can type it.
    """
    library = need("tokenizers")
    texts = list(corpus)
    model = _trained(library, texts, vocabulary - _BYTES - 1)
    vocab = {word: place for place, word in enumerate([STOP, *_byte_names(), *model["vocab"]])}
    merges = [(a, b) for a, b in (m if isinstance(m, list) else m.split(" ") for m in model["merges"])]
    tokenizer = library.Tokenizer(library.models.BPE(vocab=vocab, merges=merges, byte_fallback=True))
    tokenizer.pre_tokenizer = _words(library)
    tokenizer.decoder = library.decoders.Sequence([library.decoders.ByteFallback(), library.decoders.Fuse()])
    return TextProcessor(tokenizer)


_BYTES = 256


def _byte_names() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(_BYTES)]


def _words(library: Any) -> Any:
    """Runs of letters with the space before them, runs of digits, single marks, spaces. A mark is never joined with
    anything, so no learned word can look like the name of a byte."""
    pattern = r" ?[\p{L}\p{M}]+|\p{N}{1,3}|\s+(?!\S)|\s+|[^\s\p{L}\p{M}\p{N}]"
    return library.pre_tokenizers.Split(library.Regex(pattern), "isolated")


def _trained(library: Any, texts: Sequence[str], vocabulary: int) -> Mapping[str, Any]:
    """Vocabulary (in order) and merges of a byte-pair model that knows the commonest characters."""
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = _words(library)
    # Named, since the library takes any of the equally rare ones: two runs on the same texts would differ.
    counts = Counter(character for text in texts for character in text)
    alphabet = sorted(counts, key=lambda c: (-counts[c], c))[: int(ALPHABET * vocabulary)]
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, limit_alphabet=len(alphabet), max_token_length=16,
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    told: Mapping[str, Any] = json.loads(tokenizer.to_str())["model"]
    words = sorted(told["vocab"], key=told["vocab"].__getitem__)
    return {"vocab": words, "merges": told["merges"]}


def byte_level(pieces: Sequence[str], merges: Sequence[tuple[str, str]], marks: Sequence[str]) -> TextProcessor:
    """The kind that GPT-2 brought and SmolLM kept, with each digit on its own: bytes spelled as letters, and merges."""
    library = need("tokenizers")
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = library.Tokenizer(library.models.BPE(vocab=vocabulary, merges=list(merges)))
    before = library.pre_tokenizers
    digits, letters = before.Digits(individual_digits=True), before.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = before.Sequence([digits, letters])
    tokenizer.decoder = library.decoders.ByteLevel()
    tokenizer.add_special_tokens([library.AddedToken(mark, special=True, normalized=False) for mark in marks])
    return TextProcessor(tokenizer)
