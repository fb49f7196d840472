// Planted: a function that does not exist: the compiler refuses it.
#include "kernels.h"

extern "C" __global__ void round_to(const float* x, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = rintff(x[i] * 4.f) * 0.25f;
}
