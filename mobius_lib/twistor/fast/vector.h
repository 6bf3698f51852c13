// exp, sigmoid and tanh of float32, written without branches, so that loops over them go to wide registers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// e^x to about 1e-7 of itself: a power of 2 from the exponent's bits, times a polynomial on [-ln2/2, ln2/2]. NaN stays.
inline float exponential(float x) {
    const float bounded = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    const float whole = std::nearbyint(bounded * 1.44269504f);
    const float r = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

inline float tangent(float x) {
    const float size = std::fabs(x), e = exponential(-2.0f * size);
    // near 0 the quotient loses digits and the series does not: x - x^3/3 + 2x^5/15 - 17x^7/315
    const float s = x * x;
    const float series = x * (1.0f + s * (-0.333333333f + s * (0.133333333f + s * -0.0539682540f)));
    return size < 0.15f ? series : std::copysign((1.0f - e) / (1.0f + e), x);
}
