"""Each mistake gets one line that says what is wrong and where, and its documented exit status."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from tests.cli.conftest import Memprof, one_line
from tests.paths import ROOT

MLP = "configs/mnist_mlp.yaml"


def test_missing_config_is_named_with_the_nearest(call: Memprof) -> None:
    line = one_line(call("sweep", "configs/mnist_mpl.yaml"), ExitCode.CONFIG)
    assert "configs/mnist_mpl.yaml: no such file; did you mean configs/mnist_mlp.yaml?" in line


def test_broken_yaml_is_named_with_its_line(call: Memprof, tmp_path: Path) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text("model: mnist_mlp\nbatch_sizes: [16, 32\n")
    assert f"{config}:" in one_line(call("sweep", str(config)), ExitCode.CONFIG)


def test_unknown_key_is_named_with_line_and_nearest(call: Memprof, tmp_path: Path) -> None:
    config = tmp_path / "typo.yaml"
    config.write_text("model: mnist_mlp\nbatch_size: [16]\n")
    line = one_line(call("sweep", str(config)), ExitCode.CONFIG)
    assert f"{config}:2: batch_size: " in line
    assert "did you mean batch_sizes?" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "model=mnist_mpl"), "did you mean mnist_mlp"),
        (("--optimizer", "adamm"), "did you mean adam"),
        (("--set", "batch_sise=3"), "did you mean batch_sizes?"),
        (("--batch-size", "0"), "--batch-size 0"),
        (("--batch-size", "many"), "'many' is not a whole number"),
        (("--set", "model=absent.py:build"), "absent.py"),
        (("--colour", "red"), "No such option: --colour (see memprof sweep --help)"),
        (("--gpu",), "Option '--gpu' requires an argument"),
    ],
)
def test_wrong_option_is_named(call: Memprof, arguments: tuple[str, ...], says: str) -> None:
    assert says in one_line(call("sweep", MLP, *arguments), ExitCode.CONFIG)


def test_wrong_command_is_named_with_the_nearest(call: Memprof) -> None:
    line = one_line(call("swep", MLP), ExitCode.CONFIG)
    assert line == "memprof: no such command 'swep'; did you mean sweep? (see memprof --help)"


def test_missing_argument_is_named_with_the_help(call: Memprof) -> None:
    line = one_line(call("sweep"), ExitCode.CONFIG)
    assert line == "memprof: Missing argument 'CONFIG' (see memprof sweep --help)"


def test_unknown_gpu_is_refused_with_the_nearest(call: Memprof) -> None:
    line = one_line(call("sweep", MLP, "--gpu", "h100-80"), ExitCode.DEVICE)
    assert "did you mean h100-80gb" in line


def test_missing_real_gpu_is_refused(call: Memprof) -> None:
    line = one_line(call("sweep", MLP, "--gpu", "cuda:63"), ExitCode.DEVICE)
    assert "there is no real GPU cuda:63" in line


def test_run_without_such_a_command_names_it(call: Memprof) -> None:
    line = one_line(call("run", "--", "no-such-command"), ExitCode.CONFIG)
    assert "no-such-command" in line


def test_missing_result_is_named(call: Memprof) -> None:
    assert "nowhere" in one_line(call("show", "nowhere"), ExitCode.RESULT)


def workload_error(memprof: Memprof, tmp_path: Path, config: str, source: str = "") -> str:
    """Sweep `config` next to `source` as own.py; return the one line on stderr."""
    (tmp_path / "own.py").write_text(source)
    file = tmp_path / "own.yaml"
    file.write_text(config)
    ended = memprof("sweep", str(file), "--output-dir", str(tmp_path / "results"))
    assert not (tmp_path / "results").exists()
    assert "Traceback" not in ended.stderr
    return one_line(ended, ExitCode.WORKLOAD)


def test_factory_that_raises_is_named_with_its_line(memprof: Memprof, tmp_path: Path) -> None:
    source = "def build():\n    raise ValueError('no such width')\n"
    config = "model: own.py:build\ninput: {shape: [4]}\ntarget: {shape: [], dtype: int64, range: [0, 2]}\n"
    line = workload_error(memprof, tmp_path, config, source)
    assert "ValueError: no such width" in line
    assert "own.py" in line


def test_wrong_input_shape_names_what_the_model_takes(memprof: Memprof, tmp_path: Path) -> None:
    config = "model: torchvision:resnet18\ninput: {shape: [1, 28, 28]}\n"
    line = workload_error(memprof, tmp_path, config)
    assert "[1, 28, 28]" in line
    assert "channels" in line


def test_model_without_parameters_needs_inference(memprof: Memprof, tmp_path: Path) -> None:
    line = workload_error(memprof, tmp_path, "model: pool_net\nmode: train\nloss: sum\n")
    assert "mode: inference" in line


def test_unwritable_output_folder_is_named(memprof: Memprof, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    ended = memprof("sweep", MLP, "--batch-size", "16", "--output-dir", str(blocked))
    assert ended.returncode == ExitCode.RESULT, ended.stderr
    assert f"cannot write {blocked}" in ended.stderr.splitlines()[-1]


def test_phantom_without_compiler_says_what_to_install(memprof: Memprof, tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path), "CC": "", "MEMPROF_CACHE_DIR": str(tmp_path)}
    line = one_line(memprof("sweep", MLP, "--gpu", "t4", **nothing), ExitCode.DEVICE)
    assert "needs a C compiler" in line
    assert "pip install ziglang" in line


def test_phantom_without_cuda_build_says_so(memprof: Memprof, tmp_path: Path) -> None:
    """A torch folder in front of the installed one, with the version file of a CPU build and nothing else."""
    folder = tmp_path / "torch"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "version.py").write_text("__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "profiler")])
    line = one_line(memprof("sweep", MLP, "--gpu", "t4", PYTHONPATH=path), ExitCode.DEVICE)
    assert "needs a CUDA build of PyTorch" in line
