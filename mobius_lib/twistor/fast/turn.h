// One component pair (a, b, c, d) = (Re omega, Im omega, Re pi, Im pi) turned by a real 4 x 4 matrix, its length kept,
// and back: what every kernel of this folder that turns does at each k of a row. `math.turn` says it in torch.
#pragma once

#include <cmath>
#include <cstdint>

constexpr float EPS = 1e-12f;

inline float square(float a, float b, float c, float d) { return a * a + b * b + c * c + d * d + EPS; }

// m[0] a + m[step] b + m[2 step] c + m[3 step] d: along a row of the matrix, or down a column.
inline float dot(const float* m, int64_t step, float a, float b, float c, float d) {
    return m[0] * a + m[step] * b + m[2 * step] * c + m[3 * step] * d;
}

inline void add(float* m, int64_t step, float by, float a, float b, float c, float d) {
    m[0] += by * a, m[step] += by * b, m[2 * step] += by * c, m[3 * step] += by * d;
}

// The four numbers before the length is mended, the squares of both lengths, and what mends it.
struct Turned {
    float w0, w1, w2, w3, was, is, stretch;
};

// m: the first of the pair's 16 numbers, which lie n apart.
inline Turned turn(const float* m, int64_t n, float a, float b, float c, float d) {
    Turned t;
    t.w0 = dot(m, n, a, b, c, d), t.w1 = dot(m + 4 * n, n, a, b, c, d);
    t.w2 = dot(m + 8 * n, n, a, b, c, d), t.w3 = dot(m + 12 * n, n, a, b, c, d);
    t.was = square(a, b, c, d), t.is = square(t.w0, t.w1, t.w2, t.w3);
    t.stretch = std::sqrt(t.was / t.is);
    return t;
}

// The gradient of the four numbers before the length is mended; and by how much of the pair itself its own grows.
struct TurnedBack {
    float u0, u1, u2, u3, into;
};

// From the gradient (e, f, g, h) of the pair when turned.
inline TurnedBack turn_back(const Turned& t, float e, float f, float g, float h) {
    // along the result, what the length loses; along the pair, what it gives
    const float along = e * t.w0 + f * t.w1 + g * t.w2 + h * t.w3;
    const float out = along / t.is;
    return {t.stretch * (e - out * t.w0), t.stretch * (f - out * t.w1), t.stretch * (g - out * t.w2),
            t.stretch * (h - out * t.w3), along * t.stretch / t.was};
}
