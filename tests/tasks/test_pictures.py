"""Pictures as they come: every kind of file and fault, near copies, and what reads them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from luodi.backends import pillow
from luodi.core.modality import Modality
from luodi.errors import DataError
from luodi.modalities.image import KEPT_PIXELS, Image, Picture, have_mirrors
from luodi.stages.prepare.near_duplicates import jaccard

CODEC = Image()


def saved(image: PIL.Image.Image, kind: str, **settings: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **settings)
    return sink.getvalue()


def read(data: bytes) -> np.ndarray[Any, Any]:
    return CODEC.decode(CODEC.encode(Picture(data))).pixels()


def wire(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def scene(seed: int, side: int = 48) -> PIL.Image.Image:
    """A smooth coloured picture, as photographs are; no two alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return PIL.Image.fromarray(noise).resize((side, side), PIL.Image.Resampling.BICUBIC)


RED = PIL.Image.new("RGB", (6, 4), (250, 10, 20))


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (RED, "PNG", [250, 10, 20]), (RED, "BMP", [250, 10, 20]), (RED, "TIFF", [250, 10, 20]),
        (RED.convert("CMYK"), "JPEG", [250, 10, 20]), (RED.quantize(4), "GIF", [250, 10, 20]),
        (RED.convert("L"), "PNG", [83]), (RED.convert("L").convert("1", dither=0), "PNG", [0]),
        (PIL.Image.new("RGBA", (6, 4), (250, 10, 20, 0)), "PNG", [255, 255, 255]),
        (PIL.Image.new("RGBA", (6, 4), (250, 10, 20, 128)), "WEBP", [252, 132, 137]),
        (PIL.Image.new("LA", (6, 4), (100, 0)), "PNG", [255]),
        (PIL.Image.fromarray(np.full((4, 6), 257 * 40, np.uint16)), "PNG", [40]),
        (PIL.Image.fromarray(np.full((4, 6), 257 * 40, np.uint16)), "TIFF", [40]),
    ],
)  # fmt: skip
def test_every_kind_of_pixels(image: PIL.Image.Image, kind: str, expected: list[int]) -> None:
    pixels = read(saved(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert pixels.shape == (4, 6, len(expected))
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[2, 3].astype(int), expected, atol=4)


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = PIL.Image.new("P", (4, 4), 0)
    image.putpalette([250, 10, 20, 0, 0, 0])
    assert read(saved(image, "PNG", transparency=0))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_the_camera_noted_is_followed(orientation: int) -> None:
    """The same as Pillow's own, for all eight ways to hold a camera."""
    from PIL import ImageOps

    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = saved(scene(1, 24).resize((24, 16)), "JPEG", quality=95, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read(data), expected)


def test_the_first_picture_of_a_film_counts() -> None:
    film = saved(RED, "GIF", save_all=True, append_images=[PIL.Image.new("RGB", (6, 4), "blue")], duration=10)
    np.testing.assert_allclose(read(film)[0, 0], [250, 10, 20], atol=4)


def test_of_32_bits_nobody_knows_what_is_white(both_languages: str) -> None:
    with pytest.raises(DataError) as caught:
        read(saved(PIL.Image.fromarray(np.full((4, 6), 0.5, np.float32)), "TIFF"))
    assert "32" in caught.value.message


def bomb(side: int) -> bytes:
    """A sound PNG header of a few bytes that promises side x side pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 12_000, 40_000])
def test_a_bomb_is_refused_before_it_is_unpacked(side: int, both_languages: str) -> None:
    with pytest.raises(DataError) as caught:
        CODEC.decode(wire(bomb(side)))
    assert caught.value.code.startswith("data.picture")


def test_a_file_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pillow, "MOST_BYTES", 60)
    monkeypatch.setattr("luodi.modalities.image.MOST_BYTES", 60)
    (tmp_path / "a.png").write_bytes(saved(scene(1), "PNG"))
    for ask in (lambda: CODEC.decode(wire(saved(scene(1), "PNG"))), lambda: CODEC.load("a.png", tmp_path)):
        with pytest.raises(DataError) as caught:
            ask()
        assert caught.value.code == "data.picture_size"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_damage_is_told_in_one_line(kind: str) -> None:
    """Cut anywhere or with any byte wrong, a file is read or refused in words, and nothing else happens."""
    data = saved(scene(3, 20), kind)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        hurt = bytearray(data[: int(rng.integers(1, len(data)))] if rng.random() < 0.5 else data)
        hurt[int(rng.integers(len(hurt)))] ^= int(rng.integers(1, 256))
        told = ""
        try:
            assert CODEC.decode(wire(bytes(hurt))).pixels().dtype == np.uint8
        except DataError as error:
            told = error.message
        refused += bool(told)
        assert "\n" not in told
    assert refused > 10


def test_a_photograph_is_made_smaller_once() -> None:
    photo = saved(scene(2, 300).resize((2400, 1200)), "JPEG", exif=PIL.Image.Exif())
    kept = CODEC.decode(wire(photo))
    height, width, channels = kept.pixels().shape
    assert KEPT_PIXELS * 0.98 < height * width <= KEPT_PIXELS
    assert width / height == pytest.approx(2, abs=0.02)
    assert CODEC.decode(CODEC.encode(kept)) == kept
    assert kept.data.startswith(b"\xff\xd8\xff")
    whole = PIL.Image.open(io.BytesIO(photo)).resize((width, height))
    assert np.abs(kept.pixels().astype(int) - np.asarray(whole)).mean() < 3
    small = saved(scene(2), "PNG")
    assert CODEC.decode(wire(small)).data == small


def test_a_table_may_name_files_beside_it_and_no_others(tmp_path: Path, both_languages: str) -> None:
    data = saved(RED, "PNG")
    (tmp_path / "inside" / "deep").mkdir(parents=True)
    for place in ("outside.png", "inside/a.png", "inside/deep/b.PNG"):
        (tmp_path / place).write_bytes(data)
    (tmp_path / "inside" / "link.png").symlink_to(tmp_path / "outside.png")
    folder = tmp_path / "inside"
    for cell in ("a.png", " deep/b.PNG ", "deep\\b.PNG", "deep/../a.png"):
        assert CODEC.load(cell, folder).data == data
    assert CODEC.load(wire(data), folder).data == data
    for cell in ("../outside.png", str(tmp_path / "outside.png"), "link.png", "deep/../../outside.png"):
        with pytest.raises(DataError) as caught:
            CODEC.load(cell, folder)
        assert caught.value.code == "data.picture_place"
    with pytest.raises(DataError) as caught:
        CODEC.load("c.png", folder)
    assert "c.png" in caught.value.message
    with pytest.raises(DataError):
        CODEC.decode("a.png")


def test_numbers_of_a_table_become_a_picture() -> None:
    rows = [str(i % 17) for i in range(64)]
    pixels = CODEC.load(rows, Path()).pixels()
    np.testing.assert_array_equal(pixels[..., 0], np.array(rows, int).reshape(8, 8))
    planes = CODEC.decode([*[200.0] * 16, *[0] * 16, *[7] * 16]).pixels()
    assert planes.shape == (4, 4, 3)
    assert planes[1, 1].tolist() == [200, 0, 7]


SAME = {
    "saved again": lambda image: saved(image, "JPEG", quality=75),
    "smaller": lambda image: saved(image.resize((36, 36)), "PNG"),
    "larger": lambda image: saved(image.resize((96, 96)), "JPEG"),
    "brighter": lambda image: saved(image.point(lambda v: v + 9), "PNG"),
}


@pytest.mark.parametrize("change", SAME)
def test_near_copies_are_seen(change: str) -> None:
    seen = [scene(seed).point(lambda v: v * 0.9) for seed in range(40)]
    pairs = [(Picture(saved(image, "PNG")), Picture(SAME[change](image))) for image in seen]
    near = [jaccard(CODEC.pieces(one), CODEC.pieces(other)) for one, other in pairs]
    assert np.mean(np.array(near) >= 0.8) >= 0.95


def test_other_pictures_are_no_near_copies() -> None:
    pieces = [CODEC.pieces(Picture(saved(scene(seed), "PNG"))) for seed in range(40)]
    red, blue = (np.full((8, 8, 3), (c == "red", 0, c == "blue"), np.uint8) * 255 for c in ("red", "blue"))
    red[2:6, 2:6] = blue[2:6, 2:6] = 128
    pieces += [CODEC.pieces(Picture(pillow.write_png(pixels))) for pixels in (red, blue)]
    assert max(jaccard(a, b) for i, a in enumerate(pieces) for b in pieces[:i]) < 0.8


def test_a_thumbnail_is_small_and_to_be_seen() -> None:
    for image in (scene(1, 8), scene(1, 400), PIL.Image.new("L", (3, 900), 40)):
        shown = CODEC.thumbnail(Picture(saved(image, "PNG")))
        assert len(shown) < 12_000
        height, width, _ = CODEC.decode(shown).pixels().shape
        assert 48 <= max(height, width) <= 96
    dim = np.zeros((8, 8, 1), np.uint8)
    dim[2:5] = 16
    assert CODEC.decode(CODEC.thumbnail(Picture(pillow.write_png(dim)))).pixels().max() == 255


def test_features_and_slices_tell_what_is_seen() -> None:
    kind: Modality[Picture] = CODEC
    dark = Picture(saved(PIL.Image.new("L", (40, 20), 20), "PNG"))
    bright = Picture(saved(scene(4, 300).point(lambda v: 200 + v // 6), "PNG"))
    assert kind.slices(dark) == {"size": "tiny", "light": "dark", "colour": "grey", "shape": "wide"}
    assert kind.slices(bright) == {"size": "large", "light": "bright", "colour": "coloured", "shape": "square"}
    told = dict(zip(kind.feature_names(), kind.features(dark), strict=True))
    assert told["brightness"] == pytest.approx(20 / 255)
    assert (told["contrast"], told["sharpness"], told["aspect"]) == (0, 0, 2)


def test_mirror_images_are_told_from_letters() -> None:
    """Upright strokes mean the same in the mirror; strokes that lean to one side do not."""
    rng = np.random.default_rng(0)

    def drawn(mark: np.ndarray[Any, Any]) -> Picture:
        pixels = rng.integers(0, 60, (8, 8, 1), np.uint8)
        top = int(rng.integers(0, 3))
        pixels[top : top + 6, 1:7, 0] += (190 * mark).astype(np.uint8)
        return Picture(pillow.write_png(pixels))

    leaning, upright = np.eye(6), np.zeros((6, 6))
    upright[:, 2:4] = 1
    letters = [drawn(leaning if i % 2 else leaning[:, ::-1]) for i in range(120)]
    things = [drawn(upright if i % 2 else upright.T) for i in range(120)]
    targets = ["a", "b"] * 60
    assert not have_mirrors(letters, targets)
    assert have_mirrors(things, targets)
    assert not have_mirrors(things[:50], targets[:50])
