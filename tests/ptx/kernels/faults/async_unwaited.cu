// Planted: what cp.async copies is read without waiting for it.
#include "kernels.h"

extern "C" __global__ void copied(const float* x, float* out) {
  __shared__ __align__(16) float tile[128];
  const int t = threadIdx.x;
  const u32 to = (u32)__cvta_generic_to_shared(&tile[4 * t]);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + 4 * t) : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  out[t] = tile[4 * t];
}
