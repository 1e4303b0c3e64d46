"""XLM-R's tokeniser, put together from its unigram pieces: what comes with packaged weights as a bare list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from luodi.backends import need

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>"} | {
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}

# What the normaliser of XLM-R does beyond NFKC, read off the table in the file (4,837 entries; else only letters
# younger than XLM-R differ): controls vanish, invisible spaces become spaces, the wave ～ of Chinese chat stays itself.
CONTROLS = "[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"
SPACES = "[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"
WAVE, WAVE_ASIDE = "\uff5e", "\U0010fffd"


def unigram_tokenizer(pieces: Sequence[tuple[str, float]], *, unk: int) -> Tokenizer:
    """XLM-R's tokeniser from the pieces: normalised, words apart, best segmentation, `<s> text </s>`."""
    tk = need("tokenizers")
    tokenizer: Tokenizer = tk.Tokenizer(tk.models.Unigram(list(pieces), unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = tk.normalizers.Sequence(
        [
            tk.normalizers.Replace(tk.Regex(CONTROLS), ""),
            tk.normalizers.Replace(tk.Regex(SPACES), " "),
            tk.normalizers.Replace(WAVE, WAVE_ASIDE),
            tk.normalizers.NFKC(),
            tk.normalizers.Replace(WAVE_ASIDE, WAVE),
            tk.normalizers.Replace(tk.Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Sequence(
        [
            tk.pre_tokenizers.WhitespaceSplit(),
            tk.pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always"),
        ]
    )
    ids = {piece: index for index, (piece, _) in enumerate(pieces)}
    special = [piece for piece in dict.fromkeys(SPECIALS.values()) if piece in ids]
    tokenizer.add_special_tokens([tk.AddedToken(piece, normalized=False, special=True) for piece in special])
    tokenizer.post_processor = tk.processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])],
    )
    return tokenizer
