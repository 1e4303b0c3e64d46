"""Pillow: encoded pictures to pixels and back. What comes in is taken for hostile: six formats, limits on size, one
kind of error.

Pixels are H x W x C whole numbers from 0 to 255; C is 1 for grey pictures, else 3.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np

from luodi.backends import need
from luodi.core.types import Array
from luodi.errors import DataError, ResourceError
from luodi.messages import tr

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
MOST_BYTES = 32 << 20
MOST_PIXELS = 50_000_000
"""More than telephones take as they are set, and 200 MB of memory for a moment. A file of a few thousand bytes can
unpack to billions of pixels (a decompression bomb)."""
LOSSY = 92  # quality of a JPEG that is made smaller: the step above Pillow's 75 at which blocks can no longer be seen
_ORIENTATION = 0x0112
_JPEG = b"\xff\xd8\xff"
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""The camera's note to `Image.transpose`: FLIP_LEFT_RIGHT 0, FLIP_TOP_BOTTOM 1, ROTATE_90 2, ROTATE_180 3,
ROTATE_270 4, TRANSPOSE 5, TRANSVERSE 6 (as in PIL.ImageOps.exif_transpose)."""
Resample = Literal[0, 1, 2, 3]
BILINEAR: Resample = 2  # Pillow's own numbers, which preprocessor_config.json uses too


def read_pixels(data: bytes) -> Array:
    """Upright, without transparency, the first picture of several. Raises DataError where it is no whole picture."""
    return _pixels(_upright(data, None))


def kept_small(data: bytes, most: int) -> bytes:
    """The file as it came where it has at most `most` pixels, else a smaller one, upright. DataError as above."""
    image = _upright(data, most)
    width, height = _size(data)
    if width * height <= most:
        return data
    share = min(1.0, (most / (image.width * image.height)) ** 0.5)
    small = resized(_pixels(image), max(1, int(image.width * share)), max(1, int(image.height * share)))
    return write_jpeg(small) if data.startswith(_JPEG) else write_png(small)


def write_png(pixels: Array) -> bytes:
    """Without loss."""
    sink = io.BytesIO()
    _image(pixels).save(sink, "PNG")
    return sink.getvalue()


def write_jpeg(pixels: Array, quality: int = LOSSY) -> bytes:
    sink = io.BytesIO()
    _image(pixels).save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def resized(pixels: Array, width: int, height: int, resample: Resample = BILINEAR) -> Array:
    """Whole numbers stay whole, as the library rounds them; floats (H x W x C) keep their fractions."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if np.issubdtype(pixels.dtype, np.integer):
        return _pixels(_image(pixels).resize((width, height), resample))
    library = need("PIL.Image")
    planes = [library.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(pixels.astype(np.float32), -1, 0)]
    return np.stack([np.asarray(plane.resize((width, height), resample)) for plane in planes], axis=-1)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height as the file tells them."""
    with need("PIL.Image").open(io.BytesIO(data), formats=FORMATS) as image:
        size: tuple[int, int] = image.size
        return size


def _upright(data: bytes, most: int | None) -> Image:
    """Read whole and turned as the camera noted. `most`: so many pixels are enough (JPEG is then read in eighths)."""
    if len(data) > MOST_BYTES:
        message = tr("The picture has {size:.0f} MB; at most {most:.0f} are read.")
        raise DataError(message.format(size=len(data) / 1e6, most=MOST_BYTES / 1e6), code="data.picture_size")
    try:
        return _decoded(data, most)
    except (DataError, ResourceError):
        raise
    except Exception as error:  # decoders of six formats raise all kinds of things on damaged or hostile bytes
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        if isinstance(error, need("PIL").UnidentifiedImageError):  # its own words hold an address in memory
            reason = tr("it is of none of the formats {names}").format(names=", ".join(FORMATS))
        message = tr("It cannot be read as a picture: {reason}.").format(reason=reason)
        raise DataError(message, code="data.picture") from error


def _decoded(data: bytes, most: int | None) -> Image:
    image: Image = need("PIL.Image").open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        message = tr("The picture has {millions:.0f} million pixels; at most {most:.0f} are read.")
        message = message.format(millions=image.width * image.height / 1e6, most=MOST_PIXELS / 1e6)
        raise DataError(message, code="data.picture_size")
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if most is not None and image.format in ("JPEG", "MPO") and image.width * image.height > 4 * most:
        share = (most / (image.width * image.height)) ** 0.5
        image.draft(None, (int(image.width * share), int(image.height * share)))
    image.load()
    return image if turn is None else image.transpose(turn)  # type: ignore[arg-type]


def _pixels(image: Image) -> Array:
    """To grey or RGB; what is transparent becomes white, as on a page."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        page = need("PIL.Image").new("RGBA", seen.size, "white")
        page.alpha_composite(seen)
        if image.mode in ("LA", "La"):
            return np.asarray(page.convert("L"))[..., None]
        return np.asarray(page.convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _deep(image: Image) -> Array:
    """16 bits to 8. Of 32 bits nobody knows where white lies: X-rays and maps are kept so."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        message = tr("The picture has 32 bits a pixel, and no word of how bright white is.")
        raise DataError(message, code="data.picture", hint=tr("Save it with 8 or 16 bits."))
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)[..., None]


def _image(pixels: Array) -> Image:
    plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    made: Image = need("PIL.Image").fromarray(np.ascontiguousarray(plain))
    return made
