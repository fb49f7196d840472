// Tensor cores by inline PTX: fragments as the ISA documents them. For sm_80.
#include "kernels.h"

// D[16,8] = A[16,16] B[16,8], bf16 in, f32 out, one warp.
extern "C" __global__ void mma_bf16(const u16* a, const u16* b, float* d) {
  const int l = threadIdx.x, g = l >> 2, t = l & 3;
  auto pair = [](u16 lo, u16 hi) { return (u32)lo | ((u32)hi << 16); };
  u32 A[4], B[2];
  float C[4] = {0, 0, 0, 0};
  for (int r = 0; r < 4; ++r) {
    const int row = g + 8 * (r & 1), col = 2 * t + 8 * (r >> 1);
    A[r] = pair(a[row * 16 + col], a[row * 16 + col + 1]);
  }
  for (int r = 0; r < 2; ++r) {
    const int k = 2 * t + 8 * r;
    B[r] = pair(b[k * 8 + g], b[(k + 1) * 8 + g]);
  }
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(C[0]), "+f"(C[1]), "+f"(C[2]), "+f"(C[3])
               : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "r"(B[0]), "r"(B[1]));
  d[g * 8 + 2 * t] = C[0]; d[g * 8 + 2 * t + 1] = C[1];
  d[(g + 8) * 8 + 2 * t] = C[2]; d[(g + 8) * 8 + 2 * t + 1] = C[3];
}

// D[16,8] = A[16,8] B[8,8], tf32 in.
extern "C" __global__ void mma_tf32(const float* a, const float* b, float* d) {
  const int l = threadIdx.x, g = l >> 2, t = l & 3;
  u32 A[4], B[2];
  float C[4] = {0, 0, 0, 0};
  for (int r = 0; r < 4; ++r) {
    const float v = a[(g + 8 * (r & 1)) * 8 + t + 4 * (r >> 1)];
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(A[r]) : "f"(v));
  }
  for (int r = 0; r < 2; ++r) {
    const float v = b[(t + 4 * r) * 8 + g];
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(B[r]) : "f"(v));
  }
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(C[0]), "+f"(C[1]), "+f"(C[2]), "+f"(C[3])
               : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "r"(B[0]), "r"(B[1]));
  d[g * 8 + 2 * t] = C[0]; d[g * 8 + 2 * t + 1] = C[1];
  d[(g + 8) * 8 + 2 * t] = C[2]; d[(g + 8) * 8 + 2 * t + 1] = C[3];
}

// The same product as mma_bf16 with A and B brought in by cp.async and ldmatrix, k a multiple of 16.
extern "C" __global__ void mma_pipeline(const u16* a, const u16* b, float* d, int k) {
  __shared__ __align__(16) u16 sa[2][16 * 16];
  __shared__ __align__(16) u16 sb[2][16 * 8];
  const int l = threadIdx.x, g = l >> 2, t = l & 3;
  float C[4] = {0, 0, 0, 0};
  auto fetch = [&](int step, int buffer) {
    const u32 to = (u32)__cvta_generic_to_shared(&sa[buffer][(l >> 1) * 16 + (l & 1) * 8]);
    const u16* from = a + (size_t)(l >> 1) * k + step * 16 + (l & 1) * 8;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
    if (l < 16) {
      const u32 tb = (u32)__cvta_generic_to_shared(&sb[buffer][l * 8]);
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(tb), "l"(b + (size_t)(step * 16 + l) * 8));
    }
    asm volatile("cp.async.commit_group;");
  };
  const int steps = k / 16;
  fetch(0, 0);
  for (int s = 0; s < steps; ++s) {
    if (s + 1 < steps) {
      fetch(s + 1, (s + 1) & 1);
      asm volatile("cp.async.wait_group 1;" ::: "memory");
    } else {
      asm volatile("cp.async.wait_group 0;" ::: "memory");
    }
    __syncthreads();
    u32 A[4], B[2];
    const u32 pa = (u32)__cvta_generic_to_shared(&sa[s & 1][(l & 15) * 16 + (l >> 4) * 8]);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(A[0]), "=r"(A[1]), "=r"(A[2]), "=r"(A[3]) : "r"(pa));
    const u32 pb = (u32)__cvta_generic_to_shared(&sb[s & 1][(l & 15) * 8]);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(B[0]), "=r"(B[1]) : "r"(pb));
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(C[0]), "+f"(C[1]), "+f"(C[2]), "+f"(C[3])
                 : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "r"(B[0]), "r"(B[1]));
    __syncthreads();
  }
  d[g * 8 + 2 * t] = C[0]; d[g * 8 + 2 * t + 1] = C[1];
  d[(g + 8) * 8 + 2 * t] = C[2]; d[(g + 8) * 8 + 2 * t + 1] = C[3];
}

// H[n,n] += X^T X by wmma, X[m,n] bf16, m and n multiples of 16.
extern "C" __global__ void __launch_bounds__(32) xtx_wmma(const u16* x, float* h, int m, int n) {
  const int r0 = blockIdx.y * 16, c0 = blockIdx.x * 16;
  float c[8];
  float* hp = h + (size_t)r0 * n + c0;
  asm volatile("wmma.load.c.sync.aligned.row.m16n16k16.global.f32 {%0,%1,%2,%3,%4,%5,%6,%7}, [%8], %9;"
               : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3]), "=f"(c[4]), "=f"(c[5]), "=f"(c[6]), "=f"(c[7])
               : "l"(hp), "r"(n));
  for (int k = 0; k < m; k += 16) {
    u32 a[4], b[4];
    asm volatile("wmma.load.a.sync.aligned.col.m16n16k16.global.bf16 {%0,%1,%2,%3}, [%4], %5;"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "l"(x + (size_t)k * n + r0), "r"(n));
    asm volatile("wmma.load.b.sync.aligned.row.m16n16k16.global.bf16 {%0,%1,%2,%3}, [%4], %5;"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3]) : "l"(x + (size_t)k * n + c0), "r"(n));
    asm volatile("wmma.mma.sync.aligned.col.row.m16n16k16.f32.bf16.bf16.f32 {%0,%1,%2,%3,%4,%5,%6,%7}, "
                 "{%8,%9,%10,%11}, {%12,%13,%14,%15}, {%0,%1,%2,%3,%4,%5,%6,%7};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]));
  }
  asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%0], {%1,%2,%3,%4,%5,%6,%7,%8}, %9;" ::"l"(hp),
               "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]), "f"(c[4]), "f"(c[5]), "f"(c[6]), "f"(c[7]), "r"(n) : "memory");
}
