"""What Luodi made of a trained encoder beside what others make of the same network, one input of about 32 tokens at a
time, all in turns:

    pip install --no-deps ctranslate2
    python benchmarks/compress_peers.py examples/reviews --ours compressed/bundle

Plain ONNX Runtime int8 and NNCF int8 are those libraries with their defaults on our export of the trained network,
its vocabulary whole; CTranslate2 takes the encoder without its head, so it does a little less. Prints one table: wall
clock, and the time of all threads together, which neighbours on a busy machine change less.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luodi.core.bundle import Bundle, open_bundle, read_manifest
from luodi.core.datasets import load_split
from luodi.core.machine import num_threads, read_cpu
from luodi.core.project import open_project
from luodi.core.types import Example
from luodi.stages.compress.workshop import Workshop, calibration, traced_graph
from luodi.steps import made_from

TOKENS, INPUTS = 32, 24
Call = Callable[[int], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--ours", type=Path, nargs="+", required=True, help="Bundles, by their folders")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="all of the machine's where not said")
    told = parser.parse_args()
    project = open_project(told.project)
    trained = project.store.latest("train")
    if trained is None:
        raise SystemExit(f"first: luodi train {project.folder}")
    threads = num_threads(told.threads)
    bundle = open_bundle(trained.path / "bundle", threads=threads)
    prepared = made_from(project.store, trained, "prepare")
    rows, held_back = (load_split(prepared.path, name, bundle.task) for name in ("train", "validation"))
    texts = of_length(bundle, held_back)
    with tempfile.TemporaryDirectory() as folder:
        calls = {"trained, torch fp32": of_bundle(bundle, texts)}
        calls |= {f"Luodi {name_of(path)}": of_bundle(open_bundle(path, threads=threads), texts) for path in told.ours}
        workshop = Workshop(
            trained=bundle, training=rows, settings=project.settings["compress"], cpu=read_cpu(), folder=Path(folder),
            threads=threads,
        )  # fmt: skip
        calls |= peers(workshop, texts, Path(folder))
        print_table(in_turns(calls, told.rounds))


def name_of(path: Path) -> str:
    """The candidate that became this Bundle, and the layers of its network."""
    manifest = read_manifest(path)
    layers = manifest.network.get("config", {}).get("num_hidden_layers", "?")
    return f"{manifest.engine.rpartition('.')[2]} {manifest.seal[:6]}, {layers} layers"


def of_length(bundle: Bundle[Any, Any], rows: Sequence[Example[Any, Any]]) -> list[Any]:
    """The inputs whose length in tokens is nearest to TOKENS."""
    items = bundle.task.encode([row.input for row in rows], bundle.processor)
    sizes = [len(item["input_ids"]) for item in items]
    nearest = sorted(range(len(rows)), key=lambda i: (abs(sizes[i] - TOKENS), i))[:INPUTS]
    print(f"{INPUTS} inputs of {min(sizes[i] for i in nearest)} to {max(sizes[i] for i in nearest)} tokens")
    return [rows[i].input for i in nearest]


def of_bundle(bundle: Bundle[Any, Any], texts: Sequence[Any]) -> Call:
    """The network alone: cutting into tokens costs the same for all."""
    batches = [bundle.task.collate(bundle.task.encode([text], bundle.processor)) for text in texts]
    return lambda place: bundle.engine.run(batches[place])


def peers(workshop: Workshop, texts: Sequence[Any], folder: Path) -> Mapping[str, Call]:
    import nncf
    import onnxruntime.quantization as ort

    from luodi.backends import onnx, openvino

    trained, network = workshop.trained, workshop.trained.manifest.network
    graph = traced_graph(trained, workshop)
    onnx.export(*graph, folder / "onnx")
    (folder / "ort").mkdir()
    ort.quantize_dynamic(folder / "onnx" / "model.onnx", folder / "ort" / "model.onnx")
    openvino.convert(*graph, folder / "openvino")
    made = nncf.quantize(
        openvino.read(folder / "openvino"), nncf.Dataset(calibration(trained, workshop)),
        model_type=nncf.ModelType.TRANSFORMER,
    )  # fmt: skip
    openvino.save(made, folder / "nncf")
    batches = [trained.task.collate(trained.task.encode([text], trained.processor)) for text in texts]
    runtime = onnx.open_engine(folder / "ort", trained.task, network, workshop.threads)
    vino = openvino.open_engine(folder / "nncf", trained.task, network, workshop.threads)
    return {
        "ONNX Runtime dynamic int8, plain": lambda place: runtime.run(batches[place]),
        "OpenVINO NNCF int8, plain": lambda place: vino.run(batches[place]),
        "CTranslate2 int8, encoder alone": ctranslate2(workshop, batches, folder / "hf"),
    }


def ctranslate2(workshop: Workshop, batches: Sequence[Mapping[str, Any]], folder: Path) -> Call:
    import ctranslate2 as peer
    from transformers import PreTrainedModel

    engine: Any = workshop.trained.engine
    encoder = next(part for part in engine.model.modules() if isinstance(part, PreTrainedModel))
    encoder.config.position_embedding_type = "absolute"  # what its converter asks for; BERT's only kind since 5.0
    encoder.save_pretrained(folder)
    for file in (workshop.trained.path / "processor").iterdir():
        if not (folder / file.name).exists():
            shutil.copy(file, folder / file.name)
    peer.converters.TransformersConverter(str(folder)).convert(str(folder / "made"), quantization="int8")
    opened = peer.Encoder(str(folder / "made"), device="cpu", intra_threads=workshop.threads)
    ids = [[int(i) for i in batch["input_ids"][0]] for batch in batches]
    return lambda place: np.asarray(opened.forward_batch([ids[place]]).last_hidden_state)


def in_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, np.ndarray[Any, Any]]:
    """Milliseconds, rounds x inputs x (wall, all threads); the first round warms up and is left out."""
    found: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            call(0)
            row = []
            for place in range(INPUTS):
                before, used = time.perf_counter(), time.process_time()
                call(place)
                row.append((1e3 * (time.perf_counter() - before), 1e3 * (time.process_time() - used)))
            if turn:
                found[name].append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def print_table(found: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Each input's median over the rounds; the ratio's interval by drawing inputs."""
    medians = {name: np.median(times, axis=0) for name, times in found.items()}
    reference = next(iter(medians.values()))
    places = np.random.default_rng(0).integers(INPUTS, size=(2000, INPUTS))
    print("| | p50 ms | p95 ms | times faster than torch fp32 | all threads, p50 ms | times less |")
    print("|---" * 6 + "|")
    for name, times in medians.items():
        drawn = np.median(reference[places], 1) / np.median(times[places], 1)
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        ratio = np.median(reference, 0) / np.median(times, 0)
        told = [f"{ratio[i]:.1f} [{low[i]:.1f}, {high[i]:.1f}]" for i in (0, 1)]
        p50, used = np.median(times, 0)
        p95 = np.quantile(found[name][..., 0], 0.95)
        print(f"| {name} | {p50:.2f} | {p95:.2f} | {told[0]} | {used:.2f} | {told[1]} |")


if __name__ == "__main__":
    main()
