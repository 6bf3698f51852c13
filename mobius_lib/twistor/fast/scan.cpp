// The recurrence of a TwistorScanCell, forward and backward, in float32: z = f R z + i g over all steps of a row, the
// rate's squashed logit beside it, and what is read out. `scan.py` calls these; `../scan_cell.py` says it in torch.
//
// Rows are independent. drive is (steps, rows, 3.5 width): i, o, g and, half as wide, f, which the real and imaginary
// part of a component share. R turns omega by the angle and pi by its negative: cos and sin are (width / 4).

#include "vector.h"

extern "C" {

// acts: the activations of drive. z: (steps, rows, width). squash: (steps, rows), or null.
void scan_forward(int64_t steps, int64_t rows, int64_t width, int threads, const float* drive, const float* start,
                  const float* cos, const float* sin, const float* surprise, float rate, float root, float* acts,
                  float* z, float* squash) {
    const int64_t n = width / 4, all = 3 * width + 2 * n;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float* before = start + row * width;
        for (int64_t t = 0; t < steps; ++t) {
            const int64_t at = t * rows + row;
            const float* __restrict d = drive + at * all;
            float* __restrict a = acts + at * all;
#pragma omp simd
            for (int64_t k = 0; k < 2 * width; ++k) a[k] = sigmoid(d[k]);
#pragma omp simd
            for (int64_t k = 2 * width; k < 3 * width; ++k) a[k] = tangent(d[k]);
#pragma omp simd
            for (int64_t k = 3 * width; k < all; ++k) a[k] = sigmoid(d[k]);
            const float *i = a, *g = a + 2 * width, *f = a + 3 * width;
            float* after = z + at * width;
            if (squash) {
                float sum = 0;
                if (surprise) {
#pragma omp simd reduction(+ : sum)
                    for (int64_t k = 0; k < width; ++k) sum += std::fabs(g[k] - before[k]) * surprise[k];
                }
                squash[at] = sigmoid(sum / root + rate);
            }
            for (int64_t part = 0; part < 2; ++part) {  // omega, pi
                const int64_t re = part * 2 * n, im = re + n;
                const float sign = part ? -1.0f : 1.0f;
#pragma omp simd
                for (int64_t k = 0; k < n; ++k) {
                    const float s = sign * sin[k], x = before[re + k], y = before[im + k], keep = f[part * n + k];
                    after[re + k] = keep * (x * cos[k] - y * s) + i[re + k] * g[re + k];
                    after[im + k] = keep * (x * s + y * cos[k]) + i[im + k] * g[im + k];
                }
            }
            before = after;
        }
    }
}

// d_z: (steps, rows, width), the gradient from what reads z; d_open the same of o, d_squash (steps, rows) or null. Fills
// d_drive, d_logit (steps, rows), d_start, and d_angle (rows, n).
void scan_backward(int64_t steps, int64_t rows, int64_t width, int threads, const float* acts, const float* start,
                   const float* z, const float* cos, const float* sin, const float* surprise, float root,
                   const float* squash, const float* d_z, const float* d_open, const float* d_squash, float* d_drive,
                   float* d_logit, float* d_start, float* d_angle) {
    const int64_t n = width / 4, all = 3 * width + 2 * n;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        float* __restrict carry = d_start + row * width;
        float* __restrict spin = d_angle + row * n;
        for (int64_t k = 0; k < width; ++k) carry[k] = 0;
        for (int64_t k = 0; k < n; ++k) spin[k] = 0;
        for (int64_t t = steps - 1; t >= 0; --t) {
            const int64_t at = t * rows + row;
            const float *i = acts + at * all, *o = i + width, *g = o + width, *f = g + width;
            const float* before = t ? z + (at - rows) * width : start + row * width;
            const float *given = d_z + at * width, *open = d_open + at * width;
            float *__restrict di = d_drive + at * all, *__restrict dd = di + width, *__restrict dg = dd + width,
                  *__restrict df = dg + width;
            float slope = 0;
            if (squash) {
                d_logit[at] = d_squash[at] * squash[at] * (1 - squash[at]);
                slope = d_logit[at] / root;
            }
#pragma omp simd
            for (int64_t k = 0; k < width; ++k) {
                const float grad = given[k] + carry[k];
                carry[k] = grad;
                di[k] = grad * g[k] * i[k] * (1 - i[k]);
                dd[k] = open[k] * o[k] * (1 - o[k]);
                dg[k] = grad * i[k] * (1 - g[k] * g[k]);
            }
            for (int64_t part = 0; part < 2; ++part) {
                const int64_t re = part * 2 * n, im = re + n;
                const float sign = part ? -1.0f : 1.0f;
#pragma omp simd
                for (int64_t k = 0; k < n; ++k) {
                    const float s = sign * sin[k], c = cos[k], keep = f[part * n + k];
                    const float x = before[re + k] * c - before[im + k] * s, y = before[re + k] * s + before[im + k] * c;
                    const float p = carry[re + k], q = carry[im + k];
                    df[part * n + k] = (p * x + q * y) * keep * (1 - keep);
                    spin[k] += sign * keep * (q * x - p * y);
                    carry[re + k] = keep * (p * c + q * s);
                    carry[im + k] = keep * (q * c - p * s);
                }
            }
            if (surprise) {
#pragma omp simd
                for (int64_t k = 0; k < width; ++k) {
                    const float gap = g[k] - before[k];
                    const float d = slope * surprise[k] * (gap > 0 ? 1.0f : (gap < 0 ? -1.0f : 0.0f));
                    dg[k] += d * (1 - g[k] * g[k]);
                    carry[k] -= d;
                }
            }
        }
    }
}

// hidden = o tanh(z + (least + span squash) direction), o being open. rows: those of all steps together.
void read_forward(int64_t rows, int64_t width, int threads, const float* open, const float* z, const float* squash,
                  float least, float span, const float* direction, float* hidden) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float* o = open + row * width;
        const float *a = z + row * width, *d = direction ? direction + row * width : a;
        const float r = direction ? least + span * squash[row] : 0.0f;
        float* __restrict h = hidden + row * width;
#pragma omp simd
        for (int64_t k = 0; k < width; ++k) h[k] = o[k] * tangent(a[k] + r * d[k]);
    }
}

void read_backward(int64_t rows, int64_t width, int threads, const float* open, const float* z, const float* squash,
                   float least, float span, const float* direction, const float* d_hidden, float* d_z, float* d_open,
                   float* d_squash, float* d_direction) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const float* o = open + row * width;
        const float *a = z + row * width, *d = direction ? direction + row * width : a, *given = d_hidden + row * width;
        const float r = direction ? least + span * squash[row] : 0.0f;
        float *__restrict dz = d_z + row * width, *__restrict d_o = d_open + row * width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < width; ++k) {
            const float s = tangent(a[k] + r * d[k]);
            const float grad = given[k] * o[k] * (1 - s * s);
            d_o[k] = given[k] * s;
            dz[k] = grad;
            sum += grad * d[k];
        }
        if (direction) {
            float* __restrict dd = d_direction + row * width;
            d_squash[row] = span * sum;
#pragma omp simd
            for (int64_t k = 0; k < width; ++k) dd[k] = r * dz[k];
        }
    }
}

}  // extern "C"
