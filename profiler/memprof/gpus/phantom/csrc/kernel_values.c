/* Running the kernels whose name tells what they compute, on small tensors; others make what they write unknown.
 *
 * The parameters are the same in PyTorch 2.9 to 2.14. Where a pointer is not one to the device, the layout is not what
 * is expected: then nothing is computed.
 */
#include "kernel_values.h"

#include "elementwise.h"
#include "kernels.h"
#include "reductions.h"
#include "torch_blocks.h"

static void forget_outputs(const kernel_plan *plan, void **arguments) {
    for (int i = 0; i < plan->written_count; i++) {
        const written *w = &plan->written[i];
        char *const *words = arguments[w->position];
        if (w->words == WORDS_OF_REDUCTION) phantom_forget_reduced(words);
        else phantom_forget_outputs((void *const *)words + w->first_word, (size_t)w->words);
    }
}

void phantom_run_kernel(const void *function, void **arguments, bool computes) {
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
    case OTHER_KERNEL: break;
    }
    forget_outputs(plan, arguments);
}
