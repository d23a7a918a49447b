"""The buffer of a sum over rows, such as the gradient of a bias, for which several thread blocks share each output.

Source: `setReduceConfig` and `ReduceConfig` in PyTorch's aten/src/ATen/native/cuda/Reduce.cuh. Each block writes its
part of the sum into a buffer from the caching allocator. How many blocks share an output depends on the GPU. Sums along
the fastest dimension have such a buffer too, but of a few KiB; they are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from memprof.gpus.traits import GpuTraits

_THREADS, _WARP = 512, 32  # max_reduce_threads and warp_size
_VECTOR = 4  # outputs of one thread, if they are aligned
_FEWEST_VALUES, _MOST_VALUES = 16, 256  # of one thread: min_values_per_thread, max_values_per_thread
_SEMAPHORE_BYTES = 4  # of each thread block that has an output


def reduction_requests(tensor: Tensor, dims: Sequence[int], gpu: GpuTraits) -> tuple[int, ...]:
    """Return what a sum of `tensor` over `dims` requests while it runs: the buffer and its semaphores, or nothing."""
    rows_and_columns = _as_rows(tensor, dims)
    if rows_and_columns is None or not tensor.dtype.is_floating_point:
        return ()
    rows, columns = rows_and_columns
    vector = next(size for size in (_VECTOR, 2, 1) if columns % size == 0)
    width, height = _block(columns // vector, rows, _THREADS // vector)
    if rows < min(height * _FEWEST_VALUES, _MOST_VALUES):  # each row of the block has outputs of its own
        return ()
    values = -(-rows // height)
    grid = -(-(columns // vector) // width)
    blocks = _blocks_per_output(values, grid, width * height, gpu)
    if blocks <= 1:
        return ()
    sum_bytes = max(tensor.element_size(), 4)  # half precisions are added up in float32
    return sum_bytes * columns * blocks * width * vector, _SEMAPHORE_BYTES * grid


def _as_rows(tensor: Tensor, dims: Sequence[int]) -> tuple[int, int] | None:
    """Return the tensor as (rows to add up, columns), if the columns are contiguous inside the rows."""
    reduced = {dim % tensor.dim() for dim in dims} if tensor.dim() else set()
    outside = len(reduced)
    if not reduced or reduced != set(range(outside)) or outside == tensor.dim() or not tensor.is_contiguous():
        return None
    columns = tensor.shape[outside:].numel()
    return tensor.shape[:outside].numel(), columns


def _block(dim0: int, dim1: int, threads: int) -> tuple[int, int]:
    """Return width and height of a thread block: `set_block_dimension`."""
    wide, high = (min(_last_power_of_2(size), threads) for size in (dim0, dim1))
    width = min(wide, _WARP)
    height = min(high, threads // width)
    return min(wide, threads // height), height


def _blocks_per_output(values: int, grid: int, threads: int, gpu: GpuTraits) -> int:
    target = gpu.multiprocessors * (gpu.threads_per_multiprocessor // threads)
    if values < _MOST_VALUES or grid > target:
        return 1
    return max(min(-(-target // grid), -(-values // _FEWEST_VALUES)), -(-values // _MOST_VALUES))


def _last_power_of_2(number: int) -> int:
    return 1 << (max(number, 1).bit_length() - 1)
