"""Completion in a real bash: what the shell would put on the line after a press of the tab key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from memprof.cli.completion import join_words
from memprof.gpus.catalog import load_catalog
from tests.paths import ROOT

Complete = Callable[..., list[str]]
# Readline splits a line into COMP_WORDS before it calls the function; this does the same with its characters.
SCRIPT = r"""
eval "$(memprof --show-completion bash)"
line=$1
COMP_WORDS=(); word=""
while IFS= read -r -n1 letter; do
    case $letter in
        " ") [[ -n $word ]] && COMP_WORDS+=("$word"); word="" ;;
        "="|":") [[ -n $word ]] && COMP_WORDS+=("$word"); COMP_WORDS+=("$letter"); word="" ;;
        "") ;;
        *) word+=$letter ;;
    esac
done <<< "$line"
[[ -n $word || ${line: -1} == " " ]] && COMP_WORDS+=("$word")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
function_name=$(complete -p memprof | sed 's/.*-F \([^ ]*\).*/\1/')
$function_name memprof
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path: Path) -> Complete:
    """Return what bash proposes for a line, in a folder with a config and a saved result."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "net.yaml").write_text("model: mnist_mlp")
    (tmp_path / "results" / "resnet18" / "20260101-000000").mkdir(parents=True)
    (tmp_path / "results" / "resnet18" / "20260101-000000" / "manifest.json").write_text("{}")
    (tmp_path / "memprof.sh").write_text(SCRIPT)
    command = tmp_path / "bin" / "memprof"  # the shell's function starts it with env
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m memprof "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"

    def run(line: str) -> list[str]:
        ended = subprocess.run(
            [bash, "--norc", "memprof.sh", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "profiler")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stderr == ""
        return ended.stdout.split()

    return run


def test_completion_of_commands_and_options(complete: Complete) -> None:
    assert complete("memprof su") == ["summary"]
    assert sorted(complete("memprof max-batch --target")) == ["--target", "--target-batch"]
    assert complete("memprof no-such-command t") == []


def test_completion_of_gpus_alone_and_in_a_list(complete: Complete) -> None:
    a100 = [name for name in load_catalog() if name.startswith("a100")]
    assert complete("memprof sweep net.yaml --gpu a100") == a100
    assert complete("memprof sweep net.yaml --gpu=a100") == a100
    assert complete("memprof max-batch net.yaml --gpu t4,h20") == ["t4,h200"]
    assert complete("memprof max-batch net.yaml --gpu al") == ["all"]
    assert complete("memprof run --gpu rtx-409") == ["rtx-4090"]


def test_completion_of_configs_and_models(complete: Complete) -> None:
    assert complete("memprof sweep ") == [
        *("configs/net.yaml", "mnist_mlp", "cifar_mlp", "mnist_cnn", "cifar_conv", "pool_net", "conv_relu"),
        *("torchvision:", "timm:", "transformers:", "diffusers:"),
    ]
    assert complete("memprof explain configs/n") == ["configs/net.yaml"]


def test_completion_of_saved_results(complete: Complete) -> None:
    assert complete("memprof show re") == ["resnet18"]
    assert complete("memprof diff resnet18 r") == ["resnet18"]
    assert complete("memprof check resnet18 --baseline ") == ["resnet18"]
    assert complete("memprof show --output-dir other ") == []


def test_completion_of_set_keys_and_values(complete: Complete) -> None:
    assert complete("memprof sweep net.yaml --set cud") == ["cudnn=", "cudnn.benchmark=", "cudnn.deterministic="]
    assert complete("memprof sweep net.yaml --set preci") == [
        f"precision={name}" for name in ("fp32", "fp64", "bf16", "fp16", "amp-bf16", "amp-fp16")
    ]
    assert complete("memprof sweep net.yaml --set precision=amp") == ["amp-bf16", "amp-fp16"]
    assert complete("memprof sweep net.yaml --set precision=") == [
        "fp32",
        "fp64",
        "bf16",
        "fp16",
        "amp-bf16",
        "amp-fp16",
    ]
    assert complete("memprof sweep net.yaml --set steps=5 --optimizer sgd,adamw,adag") == ["sgd,adamw,adagrad"]


def test_completion_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom memprof.cli import main\ntry: main()\n"
        "finally: print([name for name in ('torch', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    asked = {"_MEMPROF_COMPLETE": "complete_bash", "COMP_WORDS": "memprof\nsweep\nx\n--set\nste", "COMP_CWORD": "4"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **asked}, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["steps=", "[]"]


@pytest.mark.parametrize(
    ("words", "current", "joined", "place"),
    [
        (["memprof", "x", "--set", "a", "=", "b"], 5, ["memprof", "x", "--set", "a=b"], 3),
        (["memprof", "x", "--set", "a", "="], 4, ["memprof", "x", "--set", "a="], 3),
        (["memprof", "x", "--gpu", "=", "t"], 4, ["memprof", "x", "--gpu", "t"], 3),
        (["memprof", "x", "torchvision", ":", "res", ""], 5, ["memprof", "x", "torchvision:res", ""], 3),
    ],
)
def test_join_words_undoes_what_bash_splits(
    words: Sequence[str], current: int, joined: Sequence[str], place: int
) -> None:
    environment = {
        "_MEMPROF_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(current),
    }
    join_words(environment)
    assert (environment["COMP_WORDS"].split("\n"), environment["COMP_CWORD"]) == (list(joined), str(place))
