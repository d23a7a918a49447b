/* Cumulative sums of small tensors, with the parameters of ScanUtils.cuh in aten/src/ATen and of DeviceScan in cub. */
#include "scans.h"

#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "element.h"
#include "operands.h"
#include "values.h"

typedef struct {
    size_t outer, row, inner; /* rows * elements of a row * distance of two elements of a row */
} scan_sizes;

/* What the parameter at a position says; 1 if the kernel has no such parameter. */
static size_t size_at(void **arguments, int position) {
    uint32_t size = 1;
    if (position >= 0) memcpy(&size, arguments[position], sizeof size);
    return size;
}

/* Each sum is rounded to the type of the elements, as the device does it. It adds in another order. */
static number add(element type, number a, number b) {
    char sum[MOST_BYTES_OF_AN_ELEMENT];
    phantom_store(type, sum, (number){a.real + b.real, (int64_t)((uint64_t)a.whole + (uint64_t)b.whole), b.is_real});
    return phantom_load(type, sum);
}

/* After the first element of a row that is unknown, all sums of the row are. */
static void scan_row(element type, const operand *input, operand *output, size_t first, scan_sizes sizes) {
    size_t bytes = phantom_element_bytes(type);
    number total = {0};
    bool known = true;
    for (size_t i = 0; i < sizes.row; i++) {
        size_t at = (first + i * sizes.inner) * bytes;
        known = known && phantom_is_known(input, at, bytes);
        memset(output->known + at, known, bytes);
        if (!known) continue;
        total = add(type, total, phantom_load(type, input->values + at));
        phantom_store(type, output->values + at, total);
    }
}

/* Each size has at most 32 bits, so the product of two does not overflow. */
static bool are_small(element type, scan_sizes sizes) {
    size_t bytes = phantom_element_bytes(type), rows = sizes.outer * sizes.inner;
    return phantom_is_small(type, sizes.row * bytes) && phantom_is_small(type, rows * bytes) &&
           phantom_is_small(type, sizes.row * rows * bytes);
}

bool phantom_run_scan(const kernel_plan *plan, void **arguments) {
    char *output = *(char **)arguments[plan->scans.output], *input = *(char **)arguments[plan->scans.input];
    scan_sizes sizes = {size_at(arguments, plan->scans.outer), size_at(arguments, plan->scans.row),
                        size_at(arguments, plan->scans.inner)};
    if (phantom_owner(output) < 0 || phantom_owner(input) < 0 || !are_small(plan->from, sizes)) return false;
    size_t whole = sizes.outer * sizes.row * sizes.inner * phantom_element_bytes(plan->from);
    if (!phantom_has_values(input, whole)) return false;
    operand both[2] = {0};
    bool ready = phantom_open_operand(&both[0], input, whole) && phantom_open_operand(&both[1], output, whole);
    for (size_t outer = 0; ready && outer < sizes.outer; outer++)
        for (size_t inner = 0; inner < sizes.inner; inner++)
            scan_row(plan->from, &both[0], &both[1], outer * sizes.row * sizes.inner + inner, sizes);
    if (ready) phantom_store_operand(&both[1]);
    phantom_close_operands(both, 2);
    return ready;
}
