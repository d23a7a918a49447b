"""How many devices the CUDA runtime shows."""

import ctypes

count = ctypes.c_int()
ctypes.CDLL(None).cudaGetDeviceCount(ctypes.byref(count))
print(count.value)
