"""Jobs: one server measures other configs, phantom GPUs and allocator settings than its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.config.schema import SweepConfig
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Outcome, Phase, Reading, Status
from memprof.units import MIB
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.samples import sample_config, sample_loaded


def config(**changes: object) -> SweepConfig:
    return sample_config(**{"optimizers": ["adam"], "batch_sizes": [64], **changes})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, phantom_device_h100: Device) -> Iterator[WorkerClient]:
    folder = tmp_path_factory.mktemp("jobs")
    loaded = sample_loaded(folder, optimizers=["adam"], batch_sizes=[64])
    with WorkerClient(loaded, phantom_device_h100) as client:
        yield client


def job(**settings: object) -> Job:
    return Job(**{"optimizer": config().optimizers[0], "batch_size": 64, **settings})  # type: ignore[arg-type]


def run(client: WorkerClient, *jobs: Job) -> list[Outcome]:
    return list(client.outcomes(jobs, 2))


def read(outcome: Outcome) -> Reading:
    assert outcome.status is Status.OK, outcome.error
    assert outcome.reading is not None
    return outcome.reading


def test_job_with_the_servers_config_reads_what_a_point_reads(client: WorkerClient) -> None:
    point, spelled_out = client.outcomes([(config().optimizers[0], 64), job(config=config())], 1)
    assert point == spelled_out


def test_steps_are_reported_before_the_reply_and_change_nothing(
    client: WorkerClient, tmp_path: Path, phantom_device_h100: Device
) -> None:
    steps: list[tuple[int, int, int]] = []
    limit = job(batch_size=32, memory_limit_bytes=2 * MIB)
    loaded = sample_loaded(tmp_path, optimizers=["adam"], batch_sizes=[64])
    with WorkerClient(loaded, phantom_device_h100, lambda *step: steps.append(step)) as reporting:
        outcome, failed = run(reporting, job(steps=3), limit)
        _, explanation = reporting.explain(job(batch_size=16))
    assert outcome == run(client, job(steps=3))[0]
    assert failed.status is Status.OOM
    assert [step for step in steps if step[0] == 64] == [(64, 1, 3), (64, 2, 3), (64, 3, 3)]
    assert [step for step in steps if step[0] == 32] in ([], [(32, 1, 5)])
    assert explanation is not None
    assert [step[1:] for step in steps if step[0] == 16] == [(number, 5) for number in range(1, 6)]


def test_job_has_the_gpu_of_its_environment(client: WorkerClient) -> None:
    l4 = phantom_device(find_gpu("l4"))
    own, other, again = run(client, job(), job(environment=l4.environment), job())
    assert read(own).context_bytes == find_gpu("h100-80gb").context_bytes
    assert read(other).context_bytes == find_gpu("l4").context_bytes
    assert own == again


def test_job_has_the_precision_and_model_of_its_config(client: WorkerClient) -> None:
    half = config(precision="bf16")
    large = config(model={"name": "cifar_mlp"}, input={"shape": [3, 32, 32]})
    base, halved, larger = run(client, job(), job(config=half), job(config=large))
    state = 101_770 * 4 * 2  # two numbers of Adam for each parameter
    assert read(base).peak_allocated_bytes - read(halved).peak_allocated_bytes > state // 2
    assert read(larger).peak_allocated_bytes > read(base).peak_allocated_bytes + 8 * 101_770


def test_job_has_the_allocator_settings_of_its_config(client: WorkerClient) -> None:
    expandable = config(allocator="expandable_segments:True")
    base, other, after = run(client, job(), job(config=expandable), job(config=config()))
    assert read(other).peak_reserved_bytes != read(base).peak_reserved_bytes
    assert after == base


def test_job_with_unknown_allocator_settings_fails_alone(client: WorkerClient) -> None:
    failed, after = run(client, job(config=config(allocator="no_such_setting:1")), job())
    assert failed.status is Status.ERROR
    assert "no_such_setting" in str(failed.error)
    assert after.status is Status.OK


def test_job_with_another_allocator_backend_is_refused(client: WorkerClient) -> None:
    (outcome,) = run(client, job(config=config(allocator="backend:cudaMallocAsync")))
    assert outcome.status is Status.ERROR
    assert "backend:native when it was imported" in str(outcome.error)


def test_memory_limit_of_a_job_is_exact(client: WorkerClient) -> None:
    needed = read(run(client, job(batch_size=20_000))[0]).peak_reserved_bytes
    enough, short = run(
        client,
        job(batch_size=20_000, memory_limit_bytes=needed),
        job(batch_size=20_000, memory_limit_bytes=32 * MIB),
    )
    assert read(enough).allocation_retries == 0
    assert short.status is Status.OOM
    assert short.reading is not None
    assert short.reading.peak_reserved_bytes <= 32 * MIB


def test_job_may_have_fewer_steps_than_a_config_allows(client: WorkerClient) -> None:
    (outcome,) = run(client, job(steps=2))
    assert len(read(outcome).steps) == 2


def test_evaluation_pass_runs_after_the_steps(client: WorkerClient) -> None:
    plain, evaluated = run(client, job(steps=2), job(steps=2, evaluate=True))
    assert read(evaluated).steps[0] == read(plain).steps[0]
    assert read(evaluated).steps[1].phases[:-1] == read(plain).steps[1].phases
    assert read(evaluated).steps[1].phases[-1].phase is Phase.EVALUATION
    assert read(plain).phase_peak_bytes(Phase.EVALUATION) is None


def test_breakdowns_are_those_of_the_given_config(client: WorkerClient) -> None:
    (own,) = client.breakdowns([(config().optimizers[0], 64)])
    (half,) = client.breakdowns([(config().optimizers[0], 64)], config(precision="bf16"))
    assert own.parameters_bytes == 2 * half.parameters_bytes == 407_080


def test_timed_outcome_has_the_seconds_of_its_job(client: WorkerClient) -> None:
    ((_, seconds),) = client.timed_outcomes([job()], 1)
    assert 0 < seconds < 60
