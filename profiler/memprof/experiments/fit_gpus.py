"""Find the mesh of some GPUs that leaves most room, or the fewest GPUs on which a local batch trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memprof.config.parallel import MeshConfig, ParallelConfig
from memprof.config.schema import SweepConfig
from memprof.experiments.compare import VariantRuns
from memprof.records import RunRecord, Status

MOST_GPUS = 1024  # that the search for the fewest goes up to
_MOST_TENSOR = 8  # GPUs of one machine: tensor parallelism needs the links between them
_STEPS = 3  # the least that a config may have; the second has the optimizer's state


@dataclass(frozen=True, kw_only=True)
class MeshRun:
    """One rank of a mesh, and how its run ended."""

    mesh: MeshConfig
    record: RunRecord

    @property
    def trains(self) -> bool:
        """Whether all steps ran."""
        return self.record.status is Status.OK

    @property
    def device_bytes(self) -> int | None:
        """What the run took of the GPU: reserved memory and the CUDA context, without NCCL's own if that is unknown."""
        reading = self.record.reading
        return reading.device_bytes if self.trains and reading else None

    @property
    def headroom_bytes(self) -> int | None:
        """What is left of the GPU's memory; ``None`` if the batch does not train."""
        total = self.record.environment.gpu_total_bytes
        return None if total is None or self.device_bytes is None else total - self.device_bytes

    @property
    def global_batch_size(self) -> int:
        """The samples of one pass over all ranks: those of `tensor` share theirs."""
        return self.record.batch_size * self.mesh.replicate * self.mesh.shard


def list_meshes(gpus: int, copies: bool = True) -> list[MeshConfig]:
    """Return the meshes of `gpus` ranks: the least tensor parallelism first, and then the most sharding.

    Without `copies` the model is sharded over all ranks. A mesh that the model cannot have is found when it runs.
    """
    meshes = []
    for tensor in _divisors(gpus):
        for shard in reversed(_divisors(gpus // tensor)):
            replicate = gpus // tensor // shard
            if tensor <= _MOST_TENSOR and (replicate == 1 or (copies and not (shard == 1 and tensor > 1))):
                meshes.append(MeshConfig(replicate=replicate, shard=shard, tensor=tensor))
    return meshes


def run_meshes(runs: VariantRuns, config: SweepConfig, meshes: Sequence[MeshConfig]) -> Iterator[MeshRun]:
    """Run one rank of each mesh, and yield how it ended, in their order."""
    configs = [_with_mesh(config, mesh) for mesh in meshes]
    for mesh, record in zip(meshes, runs.records(configs, breakdowns=False), strict=True):
        yield MeshRun(mesh=mesh, record=record)


def run_fewest(runs: VariantRuns, config: SweepConfig) -> Iterator[MeshRun]:
    """Run on 1, 2, 4, ... GPUs until a mesh trains, and yield each run."""
    gpus = 1
    while gpus <= MOST_GPUS:
        found = list(run_meshes(runs, config, list_meshes(gpus, copies=False)))
        yield from found
        if any(run.trains for run in found):
            return
        gpus *= 2


def roomiest_of(found: Sequence[MeshRun]) -> MeshRun | None:
    """Return the run that leaves most memory free; ``None`` if none trains."""
    return max((run for run in found if run.trains), key=lambda run: run.headroom_bytes or 0, default=None)


def _with_mesh(config: SweepConfig, mesh: MeshConfig) -> SweepConfig:
    options = config.parallel or ParallelConfig()
    is_ddp = mesh.replicate > 1 and mesh.shard == 1
    ddp = options.ddp if is_ddp else options.ddp.model_copy(update={"zero": False})
    parallel = options.model_copy(update={"mesh": mesh, "ranks": "auto", "ddp": ddp})
    return config.model_copy(update={"parallel": parallel, "steps": min(config.steps, _STEPS)})


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]
