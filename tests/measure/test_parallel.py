"""One rank of several on a phantom: what it keeps follows from the size of its part."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from memprof.gpus.select import Device
from memprof.records import Outcome, Phase, PhaseReading, Status
from memprof.worker.protocol import reply_decoder
from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS

VOCAB, LAYERS, SIZE, HIDDEN, KV = 4096, 4, 512, 1024, 256
# Of configs/parallel/llama.py; every part is a multiple of 512 bytes on 8 ranks.
MATRICES = [VOCAB * SIZE] * 2 + LAYERS * [SIZE * SIZE] * 2 + LAYERS * [SIZE * KV] * 2 + LAYERS * [SIZE * HIDDEN] * 3
NORMS = [SIZE] * (2 * LAYERS + 1)
PARAMETERS = sum(MATRICES) + sum(NORMS)
BATCH_BYTES = 2 * 256 * 8  # tokens and labels
HIDDEN_STATES_BYTES = 256 * SIZE * 4  # of one sample
WORKSPACES_BYTES = 2 * (32 << 20)  # of cuBLAS on an H100: one for forward, one for backward's thread

SCHEDULES = ("1F1B", "Interleaved1F1B", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV")

RUNS = f"""
import os
import torch
import torch.distributed as dist
from pathlib import Path
from torch.testing._internal.distributed.fake_pg import FakeStore
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.measure.run import measure
from memprof.worker.child import _marked
from memprof.worker.protocol import MeasureReply, encode
from memprof.workload import build_model
from memprof.workload.parallel import world

CASES = [dict(mesh=dict(shard=8)), dict(mesh=dict(shard=4)), dict(mesh=dict(replicate=2, shard=4)),
         dict(mesh=dict(shard=8), fsdp=dict(param_dtype="bfloat16")),
         dict(mesh=dict(shard=8), fsdp=dict(param_dtype="bfloat16", reshard_after_forward=False)),
         dict(mesh=dict(shard=4, tensor=2)), dict(mesh=dict(tensor=4)),
         None, dict(mesh=dict(replicate=2)), dict(mesh=dict(replicate=2), ddp=dict(gradient_as_bucket_view=True)),
         *(dict(mesh=dict(replicate=2), ddp=dict(zero=True), ranks=[rank]) for rank in (0, 1)),
         dict(mesh=dict(shard=8), nccl=dict(bytes_per_communicator=1 << 28)),
         *(dict(mesh=dict(pipeline=4), ranks=[rank]) for rank in (1, 2, 3)),
         dict(mesh=dict(pipeline=4), ranks=[1], pipeline=dict(schedule="GPipe")),
         *(dict(mesh=dict(pipeline=2), pipeline=dict(schedule=schedule)) for schedule in {SCHEDULES}),
         dict(mesh=dict(pipeline=4, tensor=2), ranks=[2]), dict(mesh=dict(shard=8), fsdp=dict(offload=True)),
         *(dict(mesh=dict(shard=8), fsdp=dict(version=1, param_dtype="bfloat16", reshard_after_forward=freed))
           for freed in (True, False)), dict(mesh=dict(replicate=2, shard=8), fsdp=dict(version=1)),
         dict(mesh=dict(context=4)), dict(mesh=dict(shard=2, context=2)),
         "fake", "fake tensor"]
TOKENS = dict(shape=["seq_len"], dtype="int64")
BASE = dict(name="x", input=dict(tokens=TOKENS, labels=TOKENS), sizes=dict(seq_len=256), loss="output", steps=3,
            model=dict(name="llama.py:build", kwargs=dict(layers={LAYERS}, size={SIZE}, heads=8, kv_heads=4,
                                                          hidden={HIDDEN}, vocab={VOCAB})))
FOLDER = Path({str(CONFIGS / "parallel")!r})
ADAM = OptimizerConfig(name="adamw")

def run(number, case):
    if isinstance(case, str):  # PyTorch's own backend without peers, instead of NCCL
        real = dist.init_process_group
        dist.init_process_group = lambda _, **options: real("fake", **{{**options, "store": FakeStore()}})
        world.finish_collectives = lambda: None
        case = dict(mesh=dict(shard=4, tensor=2) if case == "fake tensor" else dict(shard=8))
    config = SweepConfig.model_validate({{**BASE, "parallel": case}})
    batch_size = 8 if config.parallel and config.parallel.mesh.pipeline > 1 else 1
    outcome = measure(build_model(config, FOLDER), config, ADAM, batch_size, torch.device("cuda", 0), folder=FOLDER)
    os.write(1, encode(MeasureReply(number=number, outcome=_marked(outcome, config))))

torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
import memprof.workload.parallel.model
for number, case in enumerate(CASES):
    if os.fork() == 0:
        run(number, case)
        os._exit(0)
    os.wait()
"""
NAMES = (
    *("shard 8", "shard 4", "replicate 2 shard 4", "bf16", "bf16 kept", "shard 4 tensor 2", "tensor 4"),
    *("one GPU", "ddp", "ddp views", "zero 0", "zero 1", "nccl known"),
    *("stage 1", "stage 2", "stage 3", "stage 1 of GPipe", *SCHEDULES, "stage 1 tensor 2", "offload"),
    *("fsdp1", "fsdp1 kept", "fsdp1 replicate 2"),
    *("context 4", "shard 2 context 2"),
    *("fake", "fake tensor"),
)


@pytest.fixture(scope="module")
def outcomes(phantom_device_h100: Device) -> Mapping[str, Outcome]:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNS],
        env={**os.environ, **phantom_device_h100.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        timeout=300,
    )
    decode = reply_decoder()
    found = {name: decode(line).outcome for name, line in zip(NAMES, finished.stdout.splitlines(), strict=True)}
    assert {name: outcome.error for name, outcome in found.items() if outcome.status is not Status.OK} == {}
    return found


def phase_of(outcome: Outcome, phase: Phase) -> PhaseReading:
    """Return the reading of a phase of the last step."""
    assert outcome.reading is not None
    return next(reading for reading in outcome.reading.steps[-1].phases if reading.phase is phase)


def kept_bytes(outcome: Outcome) -> int:
    """Return what is left without gradients: parameters, optimizer state, the batch, and the workspaces."""
    return phase_of(outcome, Phase.ZERO_GRAD).allocated_after_bytes


def peaks(outcome: Outcome) -> tuple[int, int, int]:
    assert outcome.reading is not None
    return (
        outcome.reading.peak_requested_bytes,
        outcome.reading.peak_allocated_bytes,
        outcome.reading.peak_reserved_bytes,
    )


def blocks(ranks: int) -> int:
    """Return the bytes of one rank's float32 parameters, each in whole blocks of 512 bytes."""
    return sum(-(-size * 4 // ranks // 512) * 512 for size in (*MATRICES, *NORMS))


@pytest.mark.parametrize(("name", "ranks"), [("shard 8", 8), ("shard 4", 4), ("replicate 2 shard 4", 4)])
def test_fsdp_keeps_three_times_its_shard(outcomes: Mapping[str, Outcome], name: str, ranks: int) -> None:
    loss_bytes = 512
    expected = 3 * blocks(ranks) + BATCH_BYTES + WORKSPACES_BYTES + loss_bytes
    assert kept_bytes(outcomes[name]) == expected


def test_hsdp_equals_fsdp_of_its_shard_size(outcomes: Mapping[str, Outcome]) -> None:
    assert kept_bytes(outcomes["replicate 2 shard 4"]) == kept_bytes(outcomes["shard 4"])


def test_no_reshard_adds_gathered_bf16_parameters(outcomes: Mapping[str, Outcome]) -> None:
    kept, freed = (phase_of(outcomes[name], Phase.FORWARD).allocated_after_bytes for name in ("bf16 kept", "bf16"))
    assert kept - freed == PARAMETERS * 2


def test_tensor_parallel_keeps_its_part_of_matrices(outcomes: Mapping[str, Outcome]) -> None:
    norms = 3 * 4 * sum(NORMS)  # each rank has whole norms
    expected = 3 * 4 * sum(MATRICES) // 4 + norms + BATCH_BYTES + WORKSPACES_BYTES
    assert 0 <= kept_bytes(outcomes["tensor 4"]) - expected < 16 * 512
    assert 0 <= kept_bytes(outcomes["shard 4 tensor 2"]) - (expected - 3 * 4 * sum(MATRICES) // 8 - norms) < 1 << 17


def test_offload_keeps_nothing_of_the_shard_on_the_gpu(outcomes: Mapping[str, Outcome]) -> None:
    offloaded, shard = outcomes["offload"], outcomes["shard 8"]
    assert 0 <= kept_bytes(offloaded) - BATCH_BYTES - WORKSPACES_BYTES < 1 << 17
    assert kept_bytes(shard) - kept_bytes(offloaded) == pytest.approx(3 * blocks(8), abs=1 << 17)
    assert offloaded.reading is not None
    steps = 2 * 4 * len([*MATRICES, *NORMS])  # Adam counts in a tensor of each parameter
    assert offloaded.reading.host_bytes == pytest.approx(4 * 4 * PARAMETERS // 8, abs=steps)
    assert offloaded.reading.zeros_read == 0
    assert shard.reading is not None
    assert shard.reading.host_bytes is None


@pytest.mark.parametrize("name", ["fsdp1", "fsdp1 replicate 2"])
def test_fsdp1_keeps_four_times_its_flat_shard(outcomes: Mapping[str, Outcome], name: str) -> None:
    """The gradients stay after zero_grad: the flat gradient is freed when the next forward pass begins."""
    own_bytes = kept_bytes(outcomes[name]) - BATCH_BYTES - WORKSPACES_BYTES
    assert own_bytes == pytest.approx(4 * 4 * PARAMETERS // 8, abs=2 << 20)


def test_fsdp1_without_reshard_keeps_gathered_parameters(outcomes: Mapping[str, Outcome]) -> None:
    """FSDP1 never frees those of the root after forward: here embedding, last norm and output layer."""
    kept, freed = (activation_bytes(outcomes[name]) for name in ("fsdp1 kept", "fsdp1"))
    assert kept - freed == pytest.approx((PARAMETERS - 2 * VOCAB * SIZE - SIZE) * 2, abs=64 * 512)


@pytest.mark.parametrize(("name", "ranks"), [("context 4", 4), ("shard 2 context 2", 2)])
def test_context_keeps_its_part_of_the_sequence(outcomes: Mapping[str, Outcome], name: str, ranks: int) -> None:
    """Parameters are shared as with `shard`; the activations of a rank are those of its tokens."""
    assert kept_bytes(outcomes[name]) == pytest.approx(kept_bytes(outcomes["shard 4"]), abs=BATCH_BYTES)
    whole, part = (activation_bytes(outcomes[one]) for one in ("shard 4", name))
    assert part == pytest.approx(whole / ranks, rel=0.1)


def activation_bytes(outcome: Outcome) -> int:
    """Return what forward keeps for backward."""
    phase = phase_of(outcome, Phase.FORWARD)
    return phase.allocated_after_bytes - phase.allocated_before_bytes


def test_ddp_adds_one_copy_of_gradients_in_buckets(outcomes: Mapping[str, Outcome]) -> None:
    one_gpu, ddp, views = (phase_of(outcomes[name], Phase.OPTIMIZER) for name in ("one GPU", "ddp", "ddp views"))
    assert ddp.peak_allocated_bytes - one_gpu.peak_allocated_bytes == pytest.approx(PARAMETERS * 4, abs=4096)
    assert views.peak_allocated_bytes - one_gpu.peak_allocated_bytes == pytest.approx(0, abs=4096)


def test_zero_ranks_together_have_the_state_of_ddp(outcomes: Mapping[str, Outcome]) -> None:
    ddp, *zero = (kept_bytes(outcomes[name]) for name in ("ddp", "zero 0", "zero 1"))
    without_state = ddp - 2 * PARAMETERS * 4
    assert sum(size - without_state for size in zero) == pytest.approx(2 * PARAMETERS * 4, abs=64 * 512)
    assert max(zero) < ddp


@pytest.mark.parametrize(("name", "fake"), [("shard 8", "fake"), ("shard 4 tensor 2", "fake tensor")])
def test_nccl_and_backend_fake_agree_to_the_byte(outcomes: Mapping[str, Outcome], name: str, fake: str) -> None:
    assert peaks(outcomes[name]) == peaks(outcomes[fake])


def test_communicators_are_no_workspaces(outcomes: Mapping[str, Outcome]) -> None:
    reading = outcomes["replicate 2 shard 4"].reading
    assert reading is not None
    assert (reading.communicators, reading.nccl_bytes, reading.workspace_known) == (2, None, True)
    alone = outcomes["one GPU"].reading
    assert alone is not None
    assert (alone.communicators, alone.nccl_bytes) == (None, None)


def test_known_nccl_bytes_are_outside_the_allocator(outcomes: Mapping[str, Outcome]) -> None:
    known, unknown = outcomes["nccl known"].reading, outcomes["shard 8"].reading
    assert known is not None
    assert unknown is not None
    assert (known.communicators, known.nccl_bytes) == (1, 1 << 28)
    assert known.peak_reserved_bytes == unknown.peak_reserved_bytes
    assert known.context_bytes is not None
    assert unknown.context_bytes is not None
    assert known.context_bytes - unknown.context_bytes == 1 << 28


def test_1f1b_keeps_one_microbatch_less_per_rank(outcomes: Mapping[str, Outcome]) -> None:
    """Of four stages, the second has three microbatches at once and the third two; GPipe has all eight."""
    second, third, all_eight = (
        phase_of(outcomes[name], Phase.PIPELINE).peak_allocated_bytes
        for name in ("stage 1", "stage 2", "stage 1 of GPipe")
    )
    microbatch_bytes = second - third
    assert microbatch_bytes > 10 * HIDDEN_STATES_BYTES  # what one block keeps for backward
    sent_bytes = 4 * HIDDEN_STATES_BYTES  # hidden states and gradients on their way, of which 1F1B has more
    assert 5 * (microbatch_bytes - sent_bytes) < all_eight - second <= 5 * microbatch_bytes


@pytest.mark.skipif(not torch_is_at_least(2, 11), reason="the figures are those of newer versions of PyTorch")
def test_interleaved_keeps_one_block_more_on_rank_0(outcomes: Mapping[str, Outcome]) -> None:
    """Of two ranks with two blocks each, 1F1B has two microbatches of both; interleaved five of one block.

    PyTorch keeps what a stage got and sent for all eight microbatches, and the second stage of the rank has both.
    """
    alone, interleaved = (phase_of(outcomes[name], Phase.PIPELINE) for name in ("1F1B", "Interleaved1F1B"))
    block_bytes = microbatch_bytes_of_a_block(outcomes)
    assert interleaved.peak_allocated_bytes - alone.peak_allocated_bytes == pytest.approx(
        block_bytes + 2 * 8 * HIDDEN_STATES_BYTES, abs=3 * HIDDEN_STATES_BYTES
    )


@pytest.mark.parametrize("schedule", ["InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV"])
def test_zero_bubble_keeps_what_weight_gradients_need(outcomes: Mapping[str, Outcome], schedule: str) -> None:
    """The gradients of the weights come later than those of the inputs, so activations live longer than with 1F1B."""
    alone, bubble = (phase_of(outcomes[name], Phase.PIPELINE).peak_allocated_bytes for name in ("1F1B", schedule))
    assert bubble > alone


@pytest.mark.skipif(not torch_is_at_least(2, 11), reason="the figures are those of newer versions of PyTorch")
def test_stage_with_tensor_parallelism_has_its_part(outcomes: Mapping[str, Outcome]) -> None:
    whole, part = (kept_bytes(outcomes[name]) for name in ("stage 1", "stage 1 tensor 2"))
    matrices = (sum(MATRICES) - 2 * VOCAB * SIZE) // LAYERS
    exchanged_bytes = 2 * 8 * HIDDEN_STATES_BYTES  # PyTorch keeps what a stage got and sent until the next step
    assert whole - part == pytest.approx((3 * 4 * matrices + exchanged_bytes) // 2, abs=64 * 512)


def microbatch_bytes_of_a_block(outcomes: Mapping[str, Outcome]) -> int:
    """Return what one block keeps of one microbatch for backward."""
    second, third = (phase_of(outcomes[name], Phase.PIPELINE).peak_allocated_bytes for name in ("stage 1", "stage 2"))
    return second - third


def test_last_stage_has_the_output_layer(outcomes: Mapping[str, Outcome]) -> None:
    middle, last = kept_bytes(outcomes["stage 2"]), kept_bytes(outcomes["stage 3"])
    output_and_norm = 3 * 4 * (VOCAB * SIZE + SIZE)
    sent_bytes = 8 * HIDDEN_STATES_BYTES  # PyTorch keeps the outputs of the stage until the next step
    assert [o.reading.zeros_read for o in (outcomes["stage 2"], outcomes["stage 3"]) if o.reading] == [0, 0]
    assert last - middle == pytest.approx(output_and_norm - sent_bytes, abs=16 * 512)
