"""What timm's metadata say, read by a child process and kept in the cache folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from memprof.config import timm_inputs
from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.tensors import TensorConfig
from memprof.config.torchvision_inputs import VisionInput


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder; what this process remembers is forgotten before and after."""
    monkeypatch.setenv("MEMPROF_CACHE_DIR", str(tmp_path / "cache"))
    timm_inputs._all_inputs.cache_clear()
    yield tmp_path / "cache"
    timm_inputs._all_inputs.cache_clear()


def test_timm_inputs_are_read_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    assert load(Path("timm:vit_base_patch16_384")).config.input == (TensorConfig(shape=(3, 384, 384)),)
    (file,) = cache.glob("models/timm-*.json")
    assert len(json.loads(file.read_text())) > 1000
    timm_inputs._all_inputs.cache_clear()
    monkeypatch.setattr(timm_inputs, "_ask_timm", lambda: pytest.fail("timm was asked again"))
    assert timm_inputs.timm_input("resnet50") == VisionInput(shape=(3, 224, 224), classes=1000)
    assert timm_inputs.timm_input("no_such_model") is None


def test_timm_inputs_equal_those_of_a_built_model(cache: Path) -> None:
    timm = pytest.importorskip("timm")
    del cache
    for name in ("vit_small_patch14_dinov2", "convnext_tiny.in12k"):
        model, found = timm.create_model(name), timm_inputs.timm_input(name)
        assert found is not None
        assert found.shape == model.pretrained_cfg["input_size"]
        assert (found.classes or 0) == model.num_classes


def test_timm_inputs_damaged_file_is_read_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "models").mkdir(parents=True)
    monkeypatch.setattr(metadata, "version", lambda _: "9.9")
    (cache / "models" / "timm-9.9.json").write_text("[")
    monkeypatch.setattr(timm_inputs, "_ask_timm", lambda: {"net": (1, 2, 3, 4)})
    assert timm_inputs.timm_input("net") == VisionInput(shape=(1, 2, 3), classes=4)
    assert json.loads((cache / "models" / "timm-9.9.json").read_text()) == {"net": [1, 2, 3, 4]}


def test_timm_is_not_asked_if_the_config_says_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del cache
    monkeypatch.setattr(timm_inputs, "_ask_timm", lambda: pytest.fail("timm was asked"))
    given = [
        Override(flag=Flag.INPUT, text="3x64x64"),
        Override(flag=Flag.TARGET, text="scalar:int64:0-10"),
        Override(flag=Flag.LOSS, text="cross_entropy"),
    ]
    assert load(Path("timm:resnet18"), given).config.name == "resnet18"
