"""The search over meshes: which are tried, and which leaves most room."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.experiments.compare import VariantRuns
from memprof.experiments.fit_gpus import MeshRun, list_meshes, roomiest_of, run_fewest, run_meshes
from memprof.experiments.session import open_session
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Status
from tests.paths import CONFIGS

SMALL = "kwargs={layers: 4, size: 512, heads: 8, kv_heads: 4, hidden: 1024, vocab: 4096}"
CONFIG = CONFIGS / "parallel" / "llama_3_8b_fsdp8.yaml"


def labels(gpus: int, copies: bool = True) -> list[str]:
    return [mesh.label for mesh in list_meshes(gpus, copies)]


def test_meshes_have_all_gpus() -> None:
    meshes = list_meshes(64)
    assert {mesh.world_size for mesh in meshes} == {64}
    assert len(meshes) == len({mesh.label for mesh in meshes}) >= 12
    assert labels(64)[0] == "shard 64"
    assert max(mesh.tensor for mesh in meshes) == 8


def test_meshes_without_copies_shard_over_all() -> None:
    assert labels(8, copies=False) == ["shard 8", "shard 4 × tensor 2", "shard 2 × tensor 4", "tensor 8"]
    assert labels(1) == ["1 rank"]


def test_meshes_of_ddp_have_no_tensor_parallelism() -> None:
    assert all(mesh.shard > 1 or mesh.tensor == 1 or mesh.replicate == 1 for mesh in list_meshes(16))


@pytest.fixture(scope="module")
def found(phantom_device_h100: Device) -> list[MeshRun]:
    changes = ("model." + SMALL, "sizes.seq_len=256")
    loaded = load(CONFIG, [Override(flag=Flag.SET, text=text) for text in changes])
    with open_session(loaded, phantom_device_h100) as session:
        return list(run_meshes(VariantRuns(session), loaded.config, list_meshes(8)))


def test_mesh_that_does_not_divide_is_a_row(found: list[MeshRun]) -> None:
    failed = [run for run in found if not run.trains]
    assert [run.mesh.label for run in failed] == ["tensor 8"]
    assert "8 does not divide the 4 key-value heads" in str(failed[0].record.error)
    assert failed[0].headroom_bytes is None


def test_roomiest_mesh_leaves_most_memory(found: list[MeshRun]) -> None:
    best = roomiest_of(found)
    assert best is not None
    assert best.headroom_bytes == max(run.headroom_bytes or 0 for run in found)
    ddp = next(run for run in found if run.mesh.label == "replicate 8")
    assert (ddp.headroom_bytes or 0) < (best.headroom_bytes or 0)
    assert (ddp.global_batch_size, best.global_batch_size) == (8, best.mesh.replicate * best.mesh.shard)


def test_fewest_gpus_stop_where_the_batch_trains(tmp_path: Path) -> None:
    # 1.1 GiB of parameters: 4.4 GiB with gradients and AdamW, more than one GPU of 4 GiB has.
    path = tmp_path / "wide.yaml"
    path.write_text(CONFIG.read_text().replace("llama.py:build", f"{CONFIGS}/parallel/llama.py:build"))
    wide = "model.kwargs={layers: 8, size: 2048, heads: 16, kv_heads: 8, hidden: 4096, vocab: 4096}"
    loaded = load(path, [Override(flag=Flag.SET, text=text) for text in (wide, "sizes.seq_len=64", "gpu=4GiB")])
    with open_session(loaded, phantom_device(find_gpu("4GiB"))) as session:
        runs = list(run_fewest(VariantRuns(session), loaded.config))
    assert [run.record.status for run in runs if run.mesh.world_size == 1] == [Status.OOM]
    assert max(run.mesh.world_size for run in runs) == 2
    assert any(run.trains for run in runs)
