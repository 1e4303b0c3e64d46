"""SmolLM2-135M as it is written by `transformers` in fp32 and by Luodi in blocks of 8 and 4 bits, one prompt at a time,
greedily, all in turns; and how likely each finds English texts:

    python benchmarks/compress_chat.py /path/to/verification/data

Where the packages ctranslate2 and openvino-genai are installed (`pip install --no-deps ctranslate2 openvino-genai
openvino-tokenizers`) they take part with their int8, the second from the GGUF file that Luodi writes. Prints two
tables: time and tokens, perplexity.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luodi.backends import onnx
from luodi.backends.onnx_blocks import quantize_blocks
from luodi.backends.onnx_decoder import write_decoder
from luodi.core.bundle import Bundle, open_bundle
from luodi.core.machine import num_threads
from luodi.core.sampling import Sampling
from luodi.core.task import Engine
from luodi.core.types import Array
from luodi.models.packaged import fetch
from luodi.models.ready import ready_bundle
from luodi.models.writing import Draft, bits_of, write

QUESTIONS = (
    "Tell me a long story about a fox and a bear.", "How do I bake bread at home?", "Write a letter to my landlord.",
)  # fmt: skip
TEXTS, WINDOW = 40, 512
Call = Callable[[Sequence[int]], list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="all of the machine's where not said")
    told = parser.parse_args()
    threads = num_threads(told.threads)
    bundle = open_bundle(ready_bundle("smollm2"), replay=False, threads=threads)
    prompts = [[int(i) for i in item["input_ids"]] for item in bundle.task.encode(list(QUESTIONS), bundle.processor)]
    with tempfile.TemporaryDirectory() as folder:
        engines = made(bundle, Path(folder), threads)
        calls: dict[str, Call] = {"transformers generate, fp32": by_transformers(told.tokens)}
        calls |= {f"Luodi {name}": by_loop(bundle, engine, told.tokens) for name, engine in engines.items()}
        if importlib.util.find_spec("ctranslate2"):
            calls["CTranslate2 int8"] = by_ctranslate2(bundle, Path(folder) / "ct2", told.tokens, threads)
        if importlib.util.find_spec("openvino_genai"):
            calls["OpenVINO GenAI int8"] = by_genai(bundle, Path(folder) / "int8.gguf", told.tokens, threads)
        print(f"{threads} threads, {told.tokens} tokens after {[len(p) for p in prompts]}")
        print_times(calls, prompts, told.rounds, told.tokens)
        print_perplexity(bundle, {"torch fp32": bundle.engine, **engines}, told.data)


def made(bundle: Bundle[Any, Any], folder: Path, threads: int) -> dict[str, Engine]:
    write_decoder(folder / "onnx", bundle.manifest.network["config"], weights_of(bundle))
    for bits in (8, 4):
        quantize_blocks(folder / "onnx", folder / f"onnx-w{bits}", bits=bits)
    names = ("onnx", "onnx-w8", "onnx-w4")
    return {name: onnx.open_engine(folder / name, bundle.task, {}, threads) for name in names}


def weights_of(bundle: Bundle[Any, Any]) -> dict[str, Array]:
    """By their names in `transformers`."""
    engine: Any = bundle.engine
    return {n.removeprefix("decoder."): t.float().numpy() for n, t in engine.model.state_dict().items()}


def by_transformers(tokens: int) -> Call:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(fetch("smollm2"), dtype="float32").eval()

    def call(prompt: Sequence[int]) -> list[int]:
        with torch.inference_mode():
            ids = torch.tensor([list(prompt)])
            told = model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        return [int(i) for i in told[0, len(prompt) :]]

    return call


def by_loop(bundle: Bundle[Any, Any], engine: Engine, tokens: int) -> Call:
    """Luodi's own; whoever ends sooner counts by what was written."""

    def call(prompt: Sequence[int]) -> list[int]:
        draft = Draft(bundle.task.writer, Sampling(max_new_tokens=tokens))  # type: ignore[attr-defined]
        for _ in write([draft], engine, bundle.task.collate([{"input_ids": np.array(prompt)}])):
            pass
        return draft.ids

    return call


def by_ctranslate2(bundle: Bundle[Any, Any], folder: Path, tokens: int, threads: int) -> Call:
    import ctranslate2 as peer

    peer.converters.TransformersConverter(str(fetch("smollm2"))).convert(str(folder), quantization="int8")
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told |= {"unk_token": "<|endoftext|>", "bos_token": "<|im_start|>"}  # the source names none; it wants some
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    opened = peer.Generator(str(folder), device="cpu", intra_threads=threads)
    processor: Any = bundle.processor

    def call(prompt: Sequence[int]) -> list[int]:
        words = [processor.tokenizer.id_to_token(i) for i in prompt]
        made = opened.generate_batch(
            [words], max_length=tokens, min_length=tokens, sampling_topk=1, include_prompt_in_result=False
        )
        return list(made[0].sequences_ids[0])

    return call


def by_genai(bundle: Bundle[Any, Any], file: Path, tokens: int, threads: int) -> Call:
    from luodi.backends import gguf, openvino

    ov = openvino.load()  # without its telemetry
    import openvino_genai as peer

    processor: Any = bundle.processor
    tokenizer, config = bundle.path / "processor" / "tokenizer.json", bundle.manifest.network["config"]
    ends, template = processor.ends[0], bundle.task.schema.template
    gguf.write_gguf(file, config, weights_of(bundle), tokenizer, ends, template, "int8")
    opened = peer.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=threads)
    told = peer.GenerationConfig()
    told.max_new_tokens, told.min_new_tokens, told.do_sample = tokens, tokens, False

    def call(prompt: Sequence[int]) -> list[int]:
        ids = np.array([prompt])
        asked = peer.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        return [int(i) for i in opened.generate(asked, told).tokens[0]]

    return call


def print_times(calls: Mapping[str, Call], prompts: Sequence[Sequence[int]], rounds: int, tokens: int) -> None:
    """The first round warms up. Medians over rounds and prompts of milliseconds a token, the prompt's reading
    included; the ratio's interval by drawing rounds."""
    found: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in calls}
    first: dict[str, list[list[int]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            row = []
            for prompt in prompts:
                before, used = time.perf_counter(), time.process_time()
                ids = call(prompt)
                each = 1e3 / len(ids)
                row.append((each * (time.perf_counter() - before), each * (time.process_time() - used)))
                first[name].append(ids)
            if turn:
                found[name].append(row)
    reference = next(iter(calls))
    print("| | ms a token | times the tokens/s | all threads, ms a token | times less | same first tokens |")
    print("|---" * 6 + "|")
    places = np.random.default_rng(0).integers(rounds, size=(2000, rounds))
    theirs = np.array(found[reference]).mean(1)
    for name in calls:
        ours = np.array(found[name]).mean(1)
        drawn = np.median(theirs[places], 1) / np.median(ours[places], 1)
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        ratio = np.median(theirs, 0) / np.median(ours, 0)
        told = [f"{ratio[i]:.2f} [{low[i]:.2f}, {high[i]:.2f}]" for i in (0, 1)]
        wall, used = np.median(ours, 0)
        same = [same_until(a, b) for a, b in zip(first[name][: len(prompts)], first[reference], strict=False)]
        print(f"| {name} | {wall:.1f} | {told[0]} | {used:.1f} | {told[1]} | {same} of {tokens} |")


def same_until(ours: Sequence[int], theirs: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def print_perplexity(bundle: Bundle[Any, Any], engines: Mapping[str, Engine], data: Path) -> None:
    """Of paragraphs of Wikipedia (XQuAD); the interval of the difference by drawing paragraphs."""
    told = json.loads((data / "qa" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    texts = [part["context"] for article in told for part in article["paragraphs"]]
    chosen = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:TEXTS]]
    encoded = [item["input_ids"] for item in bundle.processor.encode(chosen)]
    counts = np.array([len(ids) - 1 for ids in encoded])
    places = np.random.default_rng(0).integers(TEXTS, size=(2000, TEXTS))
    print(f"{TEXTS} texts, {counts.sum()} tokens\n| | perplexity | difference |\n|---|---|---|")
    reference = None
    for name, engine in engines.items():
        bits = np.array([b.sum() for b in bits_of(engine, bundle.task.collate, encoded, [1] * TEXTS, WINDOW)])
        reference = bits if reference is None else reference
        more = 100 * (2 ** ((bits - reference)[places].sum(1) / counts[places].sum(1)) - 1)
        low, high = np.quantile(more, [0.025, 0.975])
        whole = 100 * (2 ** ((bits - reference).sum() / counts.sum()) - 1)
        print(f"| {name} | {2 ** (bits.sum() / counts.sum()):.2f} | {whole:+.2f} % [{low:+.2f}, {high:+.2f}] |")


if __name__ == "__main__":
    main()
