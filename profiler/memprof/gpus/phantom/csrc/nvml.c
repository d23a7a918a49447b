/* NVML, libnvidia-ml.so.1: what pynvml, nvitop and gpustat ask, answered from the same ledger as cudaMemGetInfo.
 *
 * NVML lists all GPUs of the machine in their own order, whatever CUDA_VISIBLE_DEVICES says. The header is not among
 * PyTorch's dependencies; the structures below are from NVIDIA's NVML API reference. All other functions that pynvml
 * looks up are generated, and answer "not supported", as a GPU without the sensor does.
 */
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "ledger.h"
#include "uuid.h"

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
} nvmlReturn_t;

typedef const char *nvmlDevice_t; /* points into `handles` */

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;

typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
} nvmlProcessInfo_v1_t;

typedef struct {
    unsigned int gpu, memory;
} nvmlUtilization_t;

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct { /* version 2; later ones only append */
    unsigned int version;
    unsigned char clusterUuid[16];
    int status;
    unsigned int cliqueId;
    unsigned char state; /* 0: not supported */
    unsigned int healthMask;
} nvmlGpuFabricInfoV_t;

static const char handles[PHANTOM_MAX_DEVICES];

static int index_of(nvmlDevice_t device) {
    long index = device - handles;
    return index >= 0 && index < phantom_gpu_count() ? (int)index : -1;
}

static nvmlReturn_t write_text(char *to, unsigned int length, const char *text) {
    if (strlen(text) >= length) return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(to, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return NVML_SUCCESS; }
nvmlReturn_t nvmlInitWithFlags(unsigned int flags) { return (void)flags, NVML_SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }

const char *nvmlErrorString(nvmlReturn_t error) {
    return error == NVML_SUCCESS                ? "The operation was successful"
           : error == NVML_ERROR_NOT_SUPPORTED  ? "Not supported by the phantom GPU"
           : error == NVML_ERROR_NOT_FOUND      ? "Not found"
           : error == NVML_ERROR_INSUFFICIENT_SIZE ? "Insufficient size"
                                                : "Invalid argument";
}

/* No real driver has this version. */
nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned int length) { return write_text(text, length, "phantom"); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *text, unsigned int length) { return write_text(text, length, "phantom"); }

extern int cudaDriverGetVersion(int *version);
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    cudaDriverGetVersion(version);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = (unsigned int)phantom_gpu_count();
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    if ((int)index >= phantom_gpu_count()) return NVML_ERROR_INVALID_ARGUMENT;
    *device = &handles[index];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    *index = (unsigned int)index_of(device);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *number) {
    return nvmlDeviceGetIndex(device, number);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    (void)device;
    return write_text(name, length, phantom_gpu_now()->name);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *text, unsigned int length) {
    char uuid[PHANTOM_UUID_TEXT_BYTES];
    phantom_uuid_text(index_of(device), uuid);
    return write_text(text, length, uuid);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    for (int i = 0; i < phantom_gpu_count(); i++) {
        char own[PHANTOM_UUID_TEXT_BYTES];
        phantom_uuid_text(i, own);
        if (!strcmp(own, uuid)) return *device = &handles[i], NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    int index = index_of(device);
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned int)index + 1;
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus & 0xff);
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus & 0xff);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    unsigned int domain, bus;
    if (sscanf(bus_id, "%x:%x:", &domain, &bus) != 2) return NVML_ERROR_INVALID_ARGUMENT;
    return bus ? nvmlDeviceGetHandleByIndex_v2(bus - 1, device) : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    (void)device;
    *major = phantom_gpu_now()->capability_major;
    *minor = phantom_gpu_now()->capability_minor;
    return NVML_SUCCESS;
}

/* ---- memory: contexts and allocations are "used"; what the driver reserves is nvidia-smi's total minus CUDA's ---- */

static size_t reserved_bytes(void) {
    const phantom_gpu *gpu = phantom_gpu_now();
    return gpu->nvml_total_bytes > gpu->total_bytes ? gpu->nvml_total_bytes - gpu->total_bytes : 0;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    memory->reserved = reserved_bytes();
    memory->total = phantom_gpu_now()->total_bytes + memory->reserved;
    memory->used = phantom_used_bytes(index_of(device));
    memory->free = memory->total - memory->reserved - memory->used;
    return NVML_SUCCESS;
}

/* Version 1 counts what the driver reserves as used. */
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    nvmlMemory_v2_t split;
    nvmlDeviceGetMemoryInfo_v2(device, &split);
    *memory = (nvmlMemory_t){split.total, split.free, split.used + split.reserved};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *processes) {
    int pids[PHANTOM_MAX_PROCESSES];
    size_t used[PHANTOM_MAX_PROCESSES];
    unsigned int there = (unsigned int)phantom_processes(index_of(device), PHANTOM_MAX_PROCESSES, pids, used);
    unsigned int room = *count;
    *count = there;
    if (there > room) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned int i = 0; i < there; i++)
        processes[i] = (nvmlProcessInfo_t){(unsigned int)pids[i], used[i], 0xFFFFFFFF, 0xFFFFFFFF};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *count,
                                                     nvmlProcessInfo_t *processes) {
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, processes);
}

/* The name without a version has the structure of the first version; PyTorch calls it for its out-of-memory message. */
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned int *count,
                                                  nvmlProcessInfo_v1_t *processes) {
    nvmlProcessInfo_t found[PHANTOM_MAX_PROCESSES];
    unsigned int there = PHANTOM_MAX_PROCESSES, room = *count;
    nvmlDeviceGetComputeRunningProcesses_v3(device, &there, found);
    *count = there;
    if (there > room) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned int i = 0; i < there; i++)
        processes[i] = (nvmlProcessInfo_v1_t){found[i].pid, found[i].usedGpuMemory};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_t *processes) {
    (void)device, (void)processes;
    *count = 0;
    return NVML_SUCCESS;
}

/* Nothing runs, so the utilization is 0. */
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    (void)device;
    *utilization = (nvmlUtilization_t){0, 0};
    return NVML_SUCCESS;
}

/* ---- sensors: constants of a GPU that is idle ---- */

enum { IDLE_DEGREES_CELSIUS = 30, IDLE_MILLIWATTS = 50000 }; /* assumed */

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned int *degrees) {
    (void)device;
    *degrees = IDLE_DEGREES_CELSIUS;
    return sensor ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

typedef struct {
    unsigned int version;
    int sensor, degrees;
} nvmlTemperature_t;

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature) {
    (void)device;
    temperature->degrees = IDLE_DEGREES_CELSIUS;
    return temperature->sensor ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts) {
    (void)device;
    *milliwatts = IDLE_MILLIWATTS;
    return NVML_SUCCESS;
}

/* The highest clocks, as the catalog has them: 0 and 1 are those of the multiprocessors, 2 is the memory's. */
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, int type, unsigned int *megahertz) {
    (void)device;
    if (type < 0 || type > 3) return NVML_ERROR_INVALID_ARGUMENT;
    int khz = type == 2 ? phantom_gpu_now()->memory_clock_khz : phantom_gpu_now()->clock_khz;
    *megahertz = (unsigned int)khz / 1000;
    return type == 3 || !khz ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int type, unsigned int *megahertz) {
    return nvmlDeviceGetMaxClockInfo(device, type, megahertz);
}

/* "Not part of a fabric", as a GPU without NVSwitch answers. */
nvmlReturn_t nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t device, nvmlGpuFabricInfoV_t *info) {
    (void)device;
    unsigned int version = info->version;
    memset(info, 0, sizeof *info);
    info->version = version;
    return NVML_SUCCESS;
}
