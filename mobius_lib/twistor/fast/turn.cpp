// Möbius maps on rows of twistors, forward and backward, in float32: one learned 4 x 4 matrix for all rows, and three
// shears that each row sets for itself; after either, every component pair gets back the length that it had.
// `turn.py` calls these; `turning.py` and `../mobius.py` say the same in torch.
//
// A row holds 4n numbers: Re omega, Im omega, Re pi, Im pi. What is summed over rows is summed in blocks of rows, and
// then block by block: the numbers depend on the size of a block, and not on how many threads there are.

#include <algorithm>

#include "turn.h"
#include "vector.h"

extern "C" {

// z and turned: (rows, 4n). matrix: (4, 4, n).
void turn_forward(int64_t rows, int64_t n, int threads, const float* z, const float* matrix, float* turned) {
    const float* m = matrix;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float *a = z + row * 4 * n, *b = a + n, *c = b + n, *d = c + n;
        float *p = turned + row * 4 * n, *q = p + n, *r = q + n, *s = r + n;
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) {
            const Turned t = turn(m + k, n, a[k], b[k], c[k], d[k]);
            p[k] = t.w0 * t.stretch, q[k] = t.w1 * t.stretch, r[k] = t.w2 * t.stretch, s[k] = t.w3 * t.stretch;
        }
    }
}

// given: the gradient of turned. Fills d_z and d_matrix (4, 4, n); sums is room for (blocks, 4, 4, n).
void turn_backward(int64_t rows, int64_t n, int64_t block, int threads, const float* z, const float* matrix,
                   const float* given, float* d_z, float* sums, float* d_matrix) {
    const float* m = matrix;
    const int64_t blocks = (rows + block - 1) / block;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t number = 0; number < blocks; ++number) {
        float* dm = sums + number * 16 * n;
        std::fill(dm, dm + 16 * n, 0.0f);
        for (int64_t row = number * block; row < std::min(rows, (number + 1) * block); ++row) {
            const float *a = z + row * 4 * n, *b = a + n, *c = b + n, *d = c + n;
            const float *e = given + row * 4 * n, *f = e + n, *g = f + n, *h = g + n;
            float *da = d_z + row * 4 * n, *db = da + n, *dc = db + n, *dd = dc + n;
#pragma omp simd
            for (int64_t k = 0; k < n; ++k) {
                const Turned t = turn(m + k, n, a[k], b[k], c[k], d[k]);
                const TurnedBack u = turn_back(t, e[k], f[k], g[k], h[k]);
                da[k] = dot(m + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * a[k];
                db[k] = dot(m + n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * b[k];
                dc[k] = dot(m + 2 * n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * c[k];
                dd[k] = dot(m + 3 * n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * d[k];
                add(dm + k, n, u.u0, a[k], b[k], c[k], d[k]);
                add(dm + 4 * n + k, n, u.u1, a[k], b[k], c[k], d[k]);
                add(dm + 8 * n + k, n, u.u2, a[k], b[k], c[k], d[k]);
                add(dm + 12 * n + k, n, u.u3, a[k], b[k], c[k], d[k]);
            }
        }
    }
    std::fill(d_matrix, d_matrix + 16 * n, 0.0f);
    for (int64_t number = 0; number < blocks; ++number) {
#pragma omp simd
        for (int64_t k = 0; k < 16 * n; ++k) d_matrix[k] += sums[number * 16 * n + k];
    }
}

// omega + b pi, then pi + c omega, then omega + d pi; b, c and d of a row are strength * tanh(logits), (rows, 6n).
void shear_forward(int64_t rows, int64_t n, int threads, const float* z, const float* logits, float strength,
                   float* sheared) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float *a = z + row * 4 * n, *b = a + n, *c = b + n, *d = c + n, *given = logits + row * 6 * n;
        float *w = sheared + row * 4 * n, *x = w + n, *y = x + n, *v = y + n;
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) {
            const float p = strength * tangent(given[k]), q = strength * tangent(given[n + k]);
            const float r = strength * tangent(given[2 * n + k]), s = strength * tangent(given[3 * n + k]);
            const float t = strength * tangent(given[4 * n + k]), u = strength * tangent(given[5 * n + k]);
            const float a1 = a[k] + p * c[k] - q * d[k], b1 = b[k] + p * d[k] + q * c[k];
            const float c1 = c[k] + r * a1 - s * b1, d1 = d[k] + r * b1 + s * a1;
            const float a2 = a1 + t * c1 - u * d1, b2 = b1 + t * d1 + u * c1;
            const float stretch = std::sqrt(square(a[k], b[k], c[k], d[k]) / square(a2, b2, c1, d1));
            w[k] = a2 * stretch, x[k] = b2 * stretch, y[k] = c1 * stretch, v[k] = d1 * stretch;
        }
    }
}

// given: the gradient of sheared. Fills d_z, d_logits and d_strength (); sums is room for (blocks).
void shear_backward(int64_t rows, int64_t n, int64_t block, int threads, const float* z, const float* logits,
                    float strength, const float* given, float* d_z, float* d_logits, float* sums, float* d_strength) {
    const int64_t blocks = (rows + block - 1) / block;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t number = 0; number < blocks; ++number) {
        float sum = 0;
        for (int64_t row = number * block; row < std::min(rows, (number + 1) * block); ++row) {
            const float *a = z + row * 4 * n, *b = a + n, *c = b + n, *d = c + n;
            const float *e = given + row * 4 * n, *f = e + n, *g = f + n, *h = g + n;
            float *da = d_z + row * 4 * n, *db = da + n, *dc = db + n, *dd = dc + n;
            const float* logit = logits + row * 6 * n;
            float* dl = d_logits + row * 6 * n;  // first the tanh, from which the gradient is made in place
            float of_row = 0;
#pragma omp simd
            for (int64_t k = 0; k < 6 * n; ++k) dl[k] = tangent(logit[k]);
#pragma omp simd reduction(+ : of_row)
            for (int64_t k = 0; k < n; ++k) {
                const float tp = dl[k], tq = dl[n + k], tr = dl[2 * n + k];
                const float ts = dl[3 * n + k], tt = dl[4 * n + k], tu = dl[5 * n + k];
                const float p = strength * tp, q = strength * tq, r = strength * tr;
                const float s = strength * ts, t = strength * tt, u = strength * tu;
                const float a1 = a[k] + p * c[k] - q * d[k], b1 = b[k] + p * d[k] + q * c[k];
                const float c1 = c[k] + r * a1 - s * b1, d1 = d[k] + r * b1 + s * a1;
                const float a2 = a1 + t * c1 - u * d1, b2 = b1 + t * d1 + u * c1;
                const float was = square(a[k], b[k], c[k], d[k]), is = square(a2, b2, c1, d1);
                const float stretch = std::sqrt(was / is);
                const float along = e[k] * a2 + f[k] * b2 + g[k] * c1 + h[k] * d1;
                const float out = along / is, into = along * stretch / was;
                const float ga = stretch * (e[k] - out * a2), gb = stretch * (f[k] - out * b2);  // of a2, b2
                const float gc = stretch * (g[k] - out * c1) + t * ga + u * gb;  // of c1, d1
                const float gd = stretch * (h[k] - out * d1) + t * gb - u * ga;
                const float ha = ga + r * gc + s * gd, hb = gb + r * gd - s * gc;  // of a1, b1
                da[k] = ha + into * a[k], db[k] = hb + into * b[k];
                dc[k] = gc + p * ha + q * hb + into * c[k], dd[k] = gd + p * hb - q * ha + into * d[k];
                const float dp = ha * c[k] + hb * d[k], dq = hb * c[k] - ha * d[k];
                const float dr = gc * a1 + gd * b1, ds = gd * a1 - gc * b1;
                const float dt = ga * c1 + gb * d1, du = gb * c1 - ga * d1;
                dl[k] = strength * dp * (1 - tp * tp), dl[n + k] = strength * dq * (1 - tq * tq);
                dl[2 * n + k] = strength * dr * (1 - tr * tr), dl[3 * n + k] = strength * ds * (1 - ts * ts);
                dl[4 * n + k] = strength * dt * (1 - tt * tt), dl[5 * n + k] = strength * du * (1 - tu * tu);
                of_row += dp * tp + dq * tq + dr * tr + ds * ts + dt * tt + du * tu;
            }
            sum += of_row;
        }
        sums[number] = sum;
    }
    *d_strength = 0;
    for (int64_t number = 0; number < blocks; ++number) *d_strength += sums[number];
}

}  // extern "C"
