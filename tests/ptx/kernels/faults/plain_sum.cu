// Planted: blocks add to the same values without atomics.
#include "kernels.h"

extern "C" __global__ void columns(const float* x, float* out, int m, int n) {
  const int c = threadIdx.x, r0 = blockIdx.x * 8;
  if (c >= n) return;
  float s = 0.f;
  for (int r = r0; r < min(m, r0 + 8); ++r) s += x[r * n + c];
  out[c] += s;
}
