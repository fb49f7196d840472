// Planted: a vector read from an address that is not a multiple of it.
#include "kernels.h"

extern "C" __global__ void quads(const float4* x, float4* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = *(const float4*)((const float*)x + 4 * i + 1);
}
