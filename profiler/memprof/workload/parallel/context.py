"""Context parallelism: each rank has a part of the sequence, and attention goes around the ranks in a ring."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.experimental import context_parallel

from memprof.workload.batches import Batch

_SEQUENCE_DIMENSION = 1


def split_sequence(batch: Batch, mesh: DeviceMesh, *, restore: bool) -> AbstractContextManager[None]:
    """Return a context in which the tensors of `batch` are this rank's parts of the sequence, and SDPA is a ring.

    A tensor is split if its second dimension is that of the first input. With `restore`, the whole batch is back after
    the context; otherwise that of the next step is a new one.
    """
    tokens = batch.tensors[0].shape[_SEQUENCE_DIMENSION]
    split = [one for one in batch.tensors if one.dim() > 1 and one.shape[_SEQUENCE_DIMENSION] == tokens]
    return context_parallel(
        mesh,
        buffers=split,
        buffer_seq_dims=[_SEQUENCE_DIMENSION] * len(split),
        no_restore_buffers=set() if restore else set(split),
    )
