"""Our own reading of pictures beside the library's, and vision networks set up again from what a Bundle keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.backends.pillow import write_png
from luodi.errors import ConfigError
from luodi.modalities.image import Picture
from luodi.models.pixels import PixelProcessor, fit_processor, open_processor, patch_of, read_processor

torch = pytest.importorskip("torch")
vit = pytest.importorskip("transformers.models.vit.image_processing_pil_vit")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(count: int, high: int = 37, wide: int = 51, channels: int = 3) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [Picture(write_png(rng.integers(0, 256, (high, wide, channels), np.uint8))) for _ in range(count)]


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("shortest", [None, 28])
def test_the_same_numbers_as_the_library(shortest: int | None, resample: Any, tmp_path: Path) -> None:
    size = {"shortest_edge": shortest} if shortest else {"height": 24, "width": 24}
    theirs = vit.ViTImageProcessorPil(
        size=size, resample=resample, do_center_crop=bool(shortest), crop_size={"height": 24, "width": 24},
        image_mean=MEAN, image_std=STD,
    )  # fmt: skip
    ours = PixelProcessor(size=24, mean=MEAN, std=STD, shortest=shortest, resample=resample)
    shown = pictures(3) + pictures(1, 60, 24)
    expected = [theirs(p.pixels(), return_tensors="np", input_data_format="channels_last") for p in shown]
    found = ours.encode(shown)
    for item, told in zip(found, expected, strict=True):
        assert item["pixel_values"].dtype == np.float32
        np.testing.assert_allclose(np.moveaxis(item["pixel_values"], -1, 0), told["pixel_values"][0], atol=1e-5)
    theirs.save_pretrained(tmp_path)
    assert read_processor(tmp_path / "preprocessor_config.json") == ours
    ours.save(tmp_path / "ours")
    assert open_processor(tmp_path / "ours") == ours
    again = vit.ViTImageProcessorPil.from_pretrained(tmp_path / "ours")
    told = again(shown[0].pixels(), return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    np.testing.assert_allclose(np.moveaxis(found[0]["pixel_values"], -1, 0), told, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        '{"size": {"height": 24, "width": 32}}', '{"do_rescale": false}',
        '{"size": {"shortest_edge": 24}, "crop_size": {}}',
    ],
)  # fmt: skip
def test_what_is_not_known_is_told(wrong: str, tmp_path: Path, both_languages: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(wrong)
    with pytest.raises(ConfigError):
        open_processor(tmp_path)


def test_a_fitted_processor_gives_mean_0_and_spread_1() -> None:
    seen = pictures(30, 10, 12)
    made = fit_processor(seen, most=64)
    assert made.network == {"image_size": 12, "num_channels": 3, "patch_size": 2}
    numbers = np.stack([item["pixel_values"] for item in made.encode(seen)])
    np.testing.assert_allclose(numbers.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(numbers.std((0, 1, 2)), 1, atol=1e-4)
    grey = [Picture(write_png(np.repeat(p.pixels()[..., :1], 3, axis=-1))) for p in seen]
    assert fit_processor(grey, most=64).network["num_channels"] == 1
    assert fit_processor(pictures(2, 90, 200), most=64).network["image_size"] == 64
    assert made.encode(grey)[0]["pixel_values"].shape == made.encode(pictures(1, 9, 9, 1))[0]["pixel_values"].shape


def test_patches_are_those_of_the_paper() -> None:
    assert [patch_of(size) for size in (8, 16, 32, 64, 224)] == [2, 4, 4, 8, 16]


@pytest.mark.parametrize("family", ["vit", "vitc"])
@pytest.mark.parametrize("side", [3, 8, 12, 16, 28, 50, 90])
def test_networks_fit_every_size_and_come_back(family: str, side: int) -> None:
    from luodi.models.encoder_head import PictureHead
    from luodi.models.source import ScratchBase, resolve

    shown = pictures(2, side, side, 1)
    base = resolve(f"{family}:micro", "")
    processor = base.processor(shown)
    fitted = base.fitted(processor)
    batch = torch.from_numpy(np.stack([np.moveaxis(i["pixel_values"], -1, 0) for i in processor.encode(shown)]))
    bases = fitted, ScratchBase(name="x", config=fitted.config)
    networks = [PictureHead(b.encoder(), num_labels=3).eval() for b in bases]
    networks[1].load_state_dict(networks[0].state_dict())
    with torch.inference_mode():
        one, other = (network(batch)["logits"] for network in networks)
    assert one.shape == (2, 3)
    torch.testing.assert_close(one, other)


def test_a_folder_with_weights_brings_its_own_reading(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    from luodi.models.source import resolve

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=24, patch_size=8
    )
    ViTModel(config).save_pretrained(tmp_path)
    PixelProcessor(size=24, mean=MEAN, std=STD).save(tmp_path)
    base = resolve(str(tmp_path), "")
    assert base.processor([]) == PixelProcessor(size=24, mean=MEAN, std=STD)
    batch = np.stack([np.moveaxis(i["pixel_values"], -1, 0) for i in base.processor([]).encode(pictures(2))])
    assert base.encoder()(pixel_values=torch.from_numpy(batch)).last_hidden_state.shape == (2, 10, 16)
