// Rotary position embedding, in place: one thread a pair. The tables are made by the processor.

#include "common.cuh"

// `n` pairs of rows of `heads` heads of `dim`, of which the first 2 `half` elements turn. With `halves` the partner of
// element j is j + half, else elements 2 j and 2 j + 1 go together. A row's position is its number modulo `positions`.
extern "C" __global__ void rope(float *x, const float *cosines, const float *sines, u64 n, u32 heads, u32 dim, u32 half,
                                u32 positions, u32 halves) {
    EACH(i, n) {
        u32 j = (u32)(i % half);
        u64 head = i / half;
        u64 row = head / heads;
        float *at = x + head * dim;
        u32 first = halves ? j : 2 * j, second = halves ? j + half : 2 * j + 1;
        u64 turn = row % positions * half + j;
        float c = cosines[turn], s = sines[turn], a = at[first], b = at[second];
        at[first] = a * c - b * s;
        at[second] = halves ? b * c + a * s : a * s + b * c;
    }
}
