/* What CUDA itself takes of a device's memory: the context at the first real use, and code when it is first needed. */
#include "context.h"

#include <stdatomic.h>

#include "device.h"
#include "ledger.h"

static _Atomic bool opened[PHANTOM_MAX_DEVICES];
static _Atomic bool loaded[PHANTOM_MAX_DEVICES][PHANTOM_CODES];

void phantom_open_context(int device) {
    if (!phantom_is_device(device) || atomic_exchange(&opened[device], true)) return;
    phantom_keep_gpu();
    phantom_take(phantom_gpu_index(device), phantom_gpu_now()->context_bytes);
}

bool phantom_has_context(int device) { return phantom_is_device(device) && atomic_load(&opened[device]); }

bool phantom_load_code(int device, phantom_code code) {
    if (!phantom_is_device(device)) return true;
    phantom_open_context(device);
    if (atomic_exchange(&loaded[device][code], true)) return true;
    const phantom_gpu *gpu = phantom_gpu_now();
    const size_t bytes[PHANTOM_CODES] = {gpu->kernels_bytes, gpu->cublas_bytes, gpu->cudnn_bytes};
    if (!bytes[code] || phantom_take(phantom_gpu_index(device), bytes[code])) return true;
    atomic_store(&loaded[device][code], false); /* PyTorch frees its cache and tries again */
    return false;
}
