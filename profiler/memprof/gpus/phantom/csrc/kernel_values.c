/* Running the kernels whose name tells what they compute, on small tensors; others make what they write unknown,
 * apart from those for lists of tensors, which leave it as it is.
 *
 * The parameters are the same in PyTorch 2.9 to 2.14. Where a pointer is not one to the device, the layout is not what
 * is expected: then nothing is computed.
 */
#include "kernel_values.h"

#include <string.h>

#include "arena.h"
#include "concatenation.h"
#include "elementwise.h"
#include "kernels.h"
#include "reductions.h"
#include "scans.h"
#include "torch_blocks.h"
#include "values.h"

enum { SCALARS_LIMIT = 110 }; /* of one launch, in all versions: depth_to_max_tensors in MultiTensorApply.cuh */

static void forget_outputs(const kernel_plan *plan, void **arguments) {
    for (int i = 0; i < plan->written_count; i++) {
        const written *w = &plan->written[i];
        char *const *words = arguments[w->position];
        if (w->words == WORDS_OF_REDUCTION) phantom_forget_reduced(words);
        else phantom_forget_outputs((void *const *)words + w->first_word, (size_t)w->words);
    }
}

static bool is_known_scalar(char *address) {
    char values[sizeof(float) + 1], known[sizeof(float) + 1];
    if (phantom_owner(address) < 0) return false;
    phantom_recall_known(values, known, address, sizeof known);
    return !memchr(known, 0, sizeof(float)) && !known[sizeof(float)];
}

/* TensorListMetadata begins with the addresses. If all tensors are scalars, each block of the grid has one of them. */
static bool add_to_scalars(void **arguments, size_t blocks) {
    char *const *scalars = arguments[0];
    float more;
    memcpy(&more, arguments[3], sizeof more);
    if (blocks > SCALARS_LIMIT) return false;
    for (size_t i = 0; i < blocks; i++)
        if (!is_known_scalar(scalars[i])) return false;
    for (size_t i = 0; i < blocks; i++) {
        float value;
        phantom_recall_values(&value, scalars[i], sizeof value);
        value += more;
        phantom_keep_values(scalars[i], &value, sizeof value);
    }
    return true;
}

void phantom_run_kernel(const void *function, void **arguments, size_t blocks, size_t rows, bool computes) {
    const kernel_plan *plan = phantom_plan_of(function);
    if (!plan || !arguments) return;
    switch (plan->shape) {
    case STRIDED: phantom_run_strided(plan, arguments, computes); return;
    case CONTIGUOUS:
    case CONTIGUOUS_CAST:
        if (computes) return phantom_run_contiguous(plan, arguments);
        break;
    case ENUMERATED:
        if (computes) return phantom_run_enumeration(plan, arguments);
        break;
    case REDUCED:
        if (computes && phantom_run_reduction(plan, arguments[0])) return;
        break;
    case ADDED_TO_LIST:
        if (computes && add_to_scalars(arguments, blocks)) return;
        break;
    case CONCATENATED:
        if (computes && phantom_run_concatenation(plan, arguments, rows)) return;
        break;
    case SCANNED:
        if (computes && phantom_run_scan(plan, arguments)) return;
        break;
    case OTHER_KERNEL: break;
    }
    forget_outputs(plan, arguments);
}
