// What a TwistorMemorySystem does between its matrix products, forward and backward, in float32: turn what is written,
// mix it into the slots, compress what is read, and mix that. `memory.py` calls these; `../memory.py` says it in
// torch.
//
// A row of the batch is independent of the others. Width is 4n: Re omega, Im omega, Re pi, Im pi. value and mixed are
// (rows, steps, width); weight (how much of a step a slot takes) and attention (how much of the reading it gives) are
// (rows, steps, count); slots, after each step, (rows, steps, count, width). matrices (count, 16, n) and profile (2, n)
// may be null, where nothing turns or is compressed.

#include <vector>

#include "turn.h"
#include "vector.h"

namespace {

// y = turn(x) by the matrix m.
void turn_row(int64_t n, const float* m, const float* x, float* y) {
    const float *a = x, *b = x + n, *c = b + n, *d = c + n;
    float *p = y, *q = y + n, *r = q + n, *s = r + n;
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
        const Turned t = turn(m + k, n, a[k], b[k], c[k], d[k]);
        p[k] = t.w0 * t.stretch, q[k] = t.w1 * t.stretch, r[k] = t.w2 * t.stretch, s[k] = t.w3 * t.stretch;
    }
}

// From the gradient g of turn(x): that of x is added to dx, that of the matrix to dm.
void turn_row_back(int64_t n, const float* m, const float* x, const float* g, float* dx, float* dm) {
    const float *a = x, *b = x + n, *c = b + n, *d = c + n;
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
        const Turned t = turn(m + k, n, a[k], b[k], c[k], d[k]);
        const TurnedBack u = turn_back(t, g[k], g[n + k], g[2 * n + k], g[3 * n + k]);
        dx[k] += dot(m + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * a[k];
        dx[n + k] += dot(m + n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * b[k];
        dx[2 * n + k] += dot(m + 2 * n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * c[k];
        dx[3 * n + k] += dot(m + 3 * n + k, 4 * n, u.u0, u.u1, u.u2, u.u3) + u.into * d[k];
        add(dm + k, n, u.u0, a[k], b[k], c[k], d[k]);
        add(dm + 4 * n + k, n, u.u1, a[k], b[k], c[k], d[k]);
        add(dm + 8 * n + k, n, u.u2, a[k], b[k], c[k], d[k]);
        add(dm + 12 * n + k, n, u.u3, a[k], b[k], c[k], d[k]);
    }
}

// The lengths of one part's components, and the size that fits the profile best.
float fit(int64_t n, const float* re, const float* im, const float* profile, float squares, float* length) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < n; ++k) {
        length[k] = std::sqrt(re[k] * re[k] + im[k] * im[k] + EPS);
        sum += length[k] * profile[k];
    }
    return sum / squares;
}

float square(int64_t n, const float* x) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < n; ++k) sum += x[k] * x[k];
    return sum;
}

}  // namespace

extern "C" {

void memory_forward(int64_t rows, int64_t steps, int64_t count, int64_t width, int threads, const float* value,
                    const float* matrices, const float* weight, const float* attention, const float* profile,
                    const float* start, float* slots, float* mixed) {
    const int64_t n = width / 4;
    const float squares[2] = {profile ? square(n, profile) : 1, profile ? square(n, profile + n) : 1};
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        std::vector<float> room(width + 2 * n);
        float *turned = room.data(), *was = turned + width, *is = was + n;
        for (int64_t t = 0; t < steps; ++t) {
            const int64_t at = row * steps + t;
            const float* v = value + at * width;
            float* out = mixed + at * width;
            for (int64_t k = 0; k < width; ++k) out[k] = 0;
            for (int64_t slot = 0; slot < count; ++slot) {
                const float* put = v;
                if (matrices) {
                    turn_row(n, matrices + slot * 16 * n, v, turned);
                    put = turned;
                }
                const float* before =
                    t ? slots + ((at - 1) * count + slot) * width : start + (row * count + slot) * width;
                float* after = slots + (at * count + slot) * width;
                const float w = weight[at * count + slot], share = attention[at * count + slot];
#pragma omp simd
                for (int64_t k = 0; k < width; ++k) after[k] = (1 - w) * before[k] + w * put[k];
                if (!profile) {
#pragma omp simd
                    for (int64_t k = 0; k < width; ++k) out[k] += share * after[k];
                    continue;
                }
                for (int64_t part = 0; part < 2; ++part) {
                    const float *re = after + part * 2 * n, *im = re + n, *p = profile + part * n;
                    float *x = out + part * 2 * n, *y = x + n, *length = was;
                    const float scale = share * fit(n, re, im, p, squares[part], length);
#pragma omp simd
                    for (int64_t k = 0; k < n; ++k) {
                        const float by = scale * p[k] / length[k];
                        x[k] += by * re[k];
                        y[k] += by * im[k];
                    }
                }
            }
        }
    }
}

// Fills d_value, d_weight, d_attention and d_start; adds to d_matrices (rows, count, 16, n) and d_profile (rows, 2, n).
void memory_backward(int64_t rows, int64_t steps, int64_t count, int64_t width, int threads, const float* value,
                     const float* matrices, const float* weight, const float* attention, const float* profile,
                     const float* start, const float* slots, const float* d_mixed, const float* d_last, float* d_value,
                     float* d_matrices, float* d_weight, float* d_attention, float* d_profile, float* d_start) {
    const int64_t n = width / 4;
    const float squares[2] = {profile ? square(n, profile) : 1, profile ? square(n, profile + n) : 1};
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        std::vector<float> room(2 * width + 2 * n);
        float *turned = room.data(), *grad = turned + width, *was = grad + width, *is = was + n;
        for (int64_t k = 0; k < count * width; ++k) d_start[row * count * width + k] = d_last[row * count * width + k];
        for (int64_t t = steps - 1; t >= 0; --t) {
            const int64_t at = row * steps + t;
            const float *v = value + at * width, *given = d_mixed + at * width;
            float* dv = d_value + at * width;
            for (int64_t k = 0; k < width; ++k) dv[k] = 0;
            for (int64_t slot = 0; slot < count; ++slot) {
                const float* after = slots + (at * count + slot) * width;
                const float* before =
                    t ? slots + ((at - 1) * count + slot) * width : start + (row * count + slot) * width;
                float* carry = d_start + (row * count + slot) * width;
                const float w = weight[at * count + slot], share = attention[at * count + slot];
                float read = 0;
                if (!profile) {
#pragma omp simd reduction(+ : read)
                    for (int64_t k = 0; k < width; ++k) {
                        read += given[k] * after[k];
                        carry[k] += share * given[k];
                    }
                } else {
                    for (int64_t part = 0; part < 2; ++part) {
                        const float *re = after + part * 2 * n, *im = re + n, *p = profile + part * n;
                        const float *gx = given + part * 2 * n, *gy = gx + n;
                        float *cx = carry + part * 2 * n, *cy = cx + n, *dp = d_profile + (row * 2 + part) * n;
                        float *length = was, *along = is;
                        const float size = fit(n, re, im, p, squares[part], length);
                        float fits = 0;  // the sum over components of p (g . unit), the gradient of the size
#pragma omp simd reduction(+ : fits)
                        for (int64_t k = 0; k < n; ++k) {
                            along[k] = (gx[k] * re[k] + gy[k] * im[k]) / length[k];
                            fits += along[k] * p[k];
                        }
                        read += size * fits;
                        const float by_fit = share * fits / squares[part];
#pragma omp simd
                        for (int64_t k = 0; k < n; ++k) {
                            const float x = re[k] / length[k], y = im[k] / length[k], stretch = share * size * p[k];
                            const float turn_by = stretch / length[k];
                            cx[k] += turn_by * (gx[k] - along[k] * x) + by_fit * p[k] * x;
                            cy[k] += turn_by * (gy[k] - along[k] * y) + by_fit * p[k] * y;
                            // size = sum(length p) / sum(p^2): once where p scales, and twice in the size
                            dp[k] += share * size * along[k] + by_fit * (length[k] - 2 * size * p[k]);
                        }
                    }
                }
                d_attention[at * count + slot] = read;
                const float* put = v;
                if (matrices) {
                    turn_row(n, matrices + slot * 16 * n, v, turned);
                    put = turned;
                }
                float took = 0;
#pragma omp simd reduction(+ : took)
                for (int64_t k = 0; k < width; ++k) {
                    took += carry[k] * (put[k] - before[k]);
                    grad[k] = w * carry[k];
                    carry[k] *= 1 - w;
                }
                d_weight[at * count + slot] = took;
                if (matrices) {
                    turn_row_back(n, matrices + slot * 16 * n, v, grad, dv, d_matrices + (row * count + slot) * 16 * n);
                } else {
#pragma omp simd
                    for (int64_t k = 0; k < width; ++k) dv[k] += grad[k];
                }
            }
        }
    }
}

}  // extern "C"
