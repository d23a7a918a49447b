"""The complete config that `memprof init` prints: the same config when it is read, and every key explained."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from memprof.config.load import json_schema, load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import SweepConfig
from memprof.config.template import SCHEMA_FILE, write_template
from memprof.config.yaml_lines import parse
from tests.config.conftest import Write, skip_without_packages
from tests.paths import ROOT

SHIPPED = sorted(ROOT.glob("configs/**/*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_template_of_a_shipped_config_reads_back_equal(path: Path, write: Write) -> None:
    skip_without_packages(path)
    config = load(path).config
    if ".py:" in config.model.name:
        own = path.parent / config.model.name.partition(":")[0]
        Path(own.name).symlink_to(own)
    text = write_template(config)
    assert load(write(text)).config == config
    jsonschema.validate(parse(text).value, json_schema())


def test_template_has_every_key_with_a_comment_above(write: Write) -> None:
    text = write_template(load(Path("mnist_mlp")).config)
    lines = text.splitlines()
    assert lines[0] == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    document = parse(text)
    assert list(document.value) == list(SweepConfig.model_fields)
    places = [document.lines[path] for path in document.lines if path and path[0] not in ("input", "target")]
    keys = {place for place in places if ":" in lines[place - 1].partition("#")[0]}
    assert [lines[place - 1] for place in sorted(keys) if not lines[place - 2].lstrip().startswith("# ")] == []
    assert max(map(len, lines)) <= 115
    del write


def test_template_keeps_what_options_say(write: Write) -> None:
    given = [
        Override(flag=Flag.SET, text="model.kwargs.image_size=128"),
        Override(flag=Flag.SET, text="optimizers=[{name: adamw, kwargs: {fused: true}, label: fused}, sgd+momentum]"),
        Override(flag=Flag.BATCH_SIZE, text="3"),
    ]
    config = load(Path("torchvision:vit_b_16"), given).config
    assert load(write(write_template(config))).config == config


def test_schema_has_an_id() -> None:
    assert json_schema()["$id"] == "urn:memprof:config"
