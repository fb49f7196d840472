// Planted: a thread waits for its own copies, but not for those of the others.
#include "kernels.h"

extern "C" __global__ void copied(const float* x, float* out) {
  __shared__ __align__(16) float tile[128];
  const int t = threadIdx.x;
  const u32 to = (u32)__cvta_generic_to_shared(&tile[4 * t]);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + 4 * t) : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  out[t] = tile[127 - 4 * t];
}
