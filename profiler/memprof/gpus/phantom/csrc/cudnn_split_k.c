/* Convolutions on Hopper that split the sum of a weight gradient: a part of their workspace, which is modelled.
 *
 * The gradient of a weight is a matrix product of out channels x (in channels x window) values, each the sum over all
 * positions of the batch. cuDNN's engine 68 divides it into tiles of 128x128 values. If the tiles of the last round are
 * few, several multiprocessors share one: each writes its part of the sum into the workspace. Without a device cuDNN
 * reports no parts, or 4 bytes in their place.
 *
 * The rule is derived from the peaks of an H200 with 132 multiprocessors (docs/fidelity, cuDNN 9.19), which give these
 * workspaces to the byte:
 *   512 x 4608, sums of 1568 (VGG, batch 2): 12 tiles with 7 parts; sums of 6272 (batch 8): 12 with 11;
 *   512 x 4608, sums of 392 (wide ResNet-50): no parts;
 *   256 x 2304, sums of 3136 (ResNet-18, batch 16; R-CNNs): 36 tiles with 3 parts;
 *   512 x 18432, sums of 2048 (FCN): no parts; cuDNN's own size.
 * A part has 65,536 bytes, and 4 bytes that seem to tell whether it is written; 32 bytes belong to all. For the second
 * product the rule gives 48 bytes less than the H200 had.
 */
#include "cudnn_split_k.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cudnn_library.h"
#include "device.h"

enum {
    TILE = 128,
    STEP = 32,             /* positions that are summed up at once */
    SHORTEST = 7,          /* steps that a part has at least */
    ALIGNMENT = 127,       /* added to a workspace that is not empty */
    COUNTER = 4,           /* what cuDNN reports in place of the parts, or nothing */
    FOR_ALL = 32,
    OF_THE_LAYOUT = 16,    /* in addition to the converted tensors */
    LONGEST_PLAN = 1 << 16 /* a plan as JSON */
};

typedef struct {
    int64_t size[4];
} shape;

typedef struct {
    shape input, weight, output; /* the tensors X, dW and dY */
} product;

/* ---- the plan, which cuDNN describes as JSON ---- */

static bool has(const char *json, const char *text) { return strstr(json, text) != NULL; }

static bool knob_is(const char *json, const char *knob, int value) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"CUDNN_KNOB_TYPE_%s\":", knob);
    const char *found = strstr(json, pattern);
    return found && atoi(found + strlen(pattern)) == value;
}

static bool is_split(const char *json) {
    return has(json, "\"engineId\":68,") && has(json, "_CONVOLUTION_BACKWARD_FILTER_") &&
           knob_is(json, "TILE_SIZE", 0) && knob_is(json, "TILE_CGA_M", 1) && knob_is(json, "TILE_CGA_N", 1) &&
           !has(json, "CUDNN_DATA_BFLOAT16") && !has(json, "CUDNN_DATA_HALF");
}

/* Reads the sizes of the tensor that the node names as `role`; false if it does not have four. */
static bool read_shape(const char *json, const char *role, shape *found) {
    char pattern[64], name[24];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", role);
    const char *named = strstr(json, pattern);
    if (!named || sscanf(named + strlen(pattern), "%23[^\"]", name) != 1) return false;
    snprintf(pattern, sizeof pattern, "\"name\":\"%s\"", name);
    const char *tensor = strstr(json, pattern), *sizes = tensor ? strstr(tensor, "\"dim\":[") : NULL;
    int64_t *size = found->size;
    return sizes && sscanf(sizes, "\"dim\":[%ld,%ld,%ld,%ld]", &size[0], &size[1], &size[2], &size[3]) == 4;
}

static bool read_product(cudnnBackendDescriptor_t plan, product *found) {
    REAL(cudnnBackendGetAttribute);
    static _Thread_local char json[LONGEST_PLAN];
    int64_t length = 0;
    if (real_cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                      sizeof json - 1, &length, json) ||
        length >= (int64_t)sizeof json)
        return false;
    json[length] = '\0';
    return is_split(json) && read_shape(json, "X", &found->input) && read_shape(json, "dW", &found->weight) &&
           read_shape(json, "dY", &found->output);
}

/* ---- the rule ---- */

static int64_t elements(const shape *tensor) {
    const int64_t *size = tensor->size;
    return size[0] * size[1] * size[2] * size[3];
}

static int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

static int64_t tiles_of(const product *p) {
    const int64_t *weight = p->weight.size;
    int64_t groups = p->input.size[1] / weight[1];
    return groups * divide_up(weight[0] / groups, TILE) * divide_up(weight[1] * weight[2] * weight[3], TILE);
}

static int64_t parts(const product *p, int64_t tiles, int64_t multiprocessors) {
    const int64_t *output = p->output.size;
    int64_t left_over = tiles % multiprocessors;
    if (!left_over) return 0;
    int64_t sharing = multiprocessors / left_over;
    int64_t longest = divide_up(output[0] * output[2] * output[3], STEP) / SHORTEST;
    int64_t split = sharing < longest ? sharing : longest;
    return split > 1 ? split * left_over : 0;
}

static int64_t parts_bytes(int64_t count) {
    return count ? ALIGNMENT + count * (TILE * TILE + 1) * (int64_t)sizeof(float) + FOR_ALL : 0;
}

int64_t phantom_workspace_on_hopper(cudnnBackendDescriptor_t plan, int64_t reported) {
    product p;
    if (!read_product(plan, &p)) return reported;
    int64_t converted = (elements(&p.input) + elements(&p.weight) + elements(&p.output)) * (int64_t)sizeof(float);
    int64_t in_place = reported - converted - OF_THE_LAYOUT;
    int64_t tiles = tiles_of(&p), multiprocessors = phantom_gpu_now()->multiprocessors;
    bool is_known = in_place == 0 || in_place == ALIGNMENT + COUNTER; /* else the layout is another */
    if (!is_known || tiles >= 2 * multiprocessors) return reported;
    return reported - in_place + parts_bytes(parts(&p, tiles, multiprocessors));
}
