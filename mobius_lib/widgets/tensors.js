// What trained networks need in a page: their weights, and the sums that take the time. No part of it touches the page:
// it runs in a worker. Pictures lie channels last, [position][channel]; all in double precision.

const half = (h) => { // of its 16 bits; no infinity, no NaN
  const exponent = (h >> 10) & 31, rest = h & 1023;
  return (h >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 15) * (1 + rest / 1024) : rest * 2 ** -24);
};

const KINDS = { // bytes of a number, and how it is read
  F32: [4, (view, at) => view.getFloat32(at, true)],
  F16: [2, (view, at) => half(view.getUint16(at, true))],
  I8: [1, (view, at) => view.getInt8(at)],
  U8: [1, (view, at) => view.getUint8(at)],
};

export function tensors(buffer) { // a safetensors file, also as eight_bits.py packs it: name to { shape, data }
  const view = new DataView(buffer), start = 8 + Number(view.getBigUint64(0, true)), found = {};
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const read = ({ dtype, data_offsets: [from, to] }) => {
    const [size, number] = KINDS[dtype];
    return Float64Array.from({ length: (to - from) / size }, (_, i) => number(view, start + from + size * i));
  };
  for (const [name, { dtype, shape, ...place }] of Object.entries(header)) {
    if (!KINDS[dtype]) continue;
    const data = read({ dtype, ...place }), scale = dtype === "I8" && read(header[name + ".scale"]);
    found[name] = { shape, data: scale ? data.map((v, i) => v * scale[Math.floor(i / shape[1])]) : data };
  }
  return found;
}

export const sigmoid = (z) => 1 / (1 + Math.exp(-z));

export function softmax(z) {
  const top = Math.max(...z), e = Array.from(z, (v) => Math.exp(v - top)), sum = e.reduce((p, q) => p + q);
  return e.map((v) => v / sum);
}

// y[p][o] = bias[o] + sum over k of x[p][k] w[o][k], four by four: each number that is loaded serves four products.
export function matrix(x, w, bias, P, K, O) {
  const y = new Float64Array(P * O);
  for (let o = 0; o < O; o += 4) {
    const few = Math.min(4, O - o), [w0, w1, w2, w3] = [0, 1, 2, 3].map((j) => (o + Math.min(j, few - 1)) * K);
    for (let p = 0; p < P; p += 2) {
      const x0 = p * K, x1 = p + 1 < P ? x0 + K : x0;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let k = 0; k < K; k++) {
        const u = x[x0 + k], v = x[x1 + k], q0 = w[w0 + k], q1 = w[w1 + k], q2 = w[w2 + k], q3 = w[w3 + k];
        a0 += u * q0; a1 += u * q1; a2 += u * q2; a3 += u * q3;
        b0 += v * q0; b1 += v * q1; b2 += v * q2; b3 += v * q3;
      }
      const sums = [a0, a1, a2, a3, b0, b1, b2, b3];
      for (let i = 0; i < 2 && p + i < P; i++)
        for (let j = 0; j < few; j++) y[(p + i) * O + o + j] = sums[4 * i + j] + (bias ? bias[o + j] : 0);
    }
  }
  return y;
}

// What a 3 x 3 convolution with padding 1 reads at each position: [position][tap][channel].
function windows({ x, H, W, C }, stride) {
  const h = Math.ceil(H / stride), w = Math.ceil(W / stride), seen = new Float64Array(h * w * 9 * C);
  for (let r = 0, at = 0; r < h; r++)
    for (let c = 0; c < w; c++)
      for (let tap = 0; tap < 9; tap++, at += C) {
        const row = stride * r + Math.floor(tap / 3) - 1, column = stride * c + (tap % 3) - 1;
        if (row < 0 || column < 0 || row >= H || column >= W) continue;
        const from = (row * W + column) * C;
        for (let k = 0; k < C; k++) seen[at + k] = x[from + k];
      }
  return { seen, h, w };
}

// Weights of a 3 x 3 convolution, from torch's [out][in][tap] to [out][tap][in].
export function taps({ shape: [O, C], data }) {
  return Float64Array.from(data, (_, i) => data[(Math.floor(i / (9 * C)) * C + (i % C)) * 9 + (Math.floor(i / C) % 9)]);
}

export function convolve(picture, weights, bias, stride = 1) { // weights as `taps` gives them
  const { seen, h, w } = windows(picture, stride), O = bias.length;
  return { x: matrix(seen, weights, bias, h * w, 9 * picture.C, O), H: h, W: w, C: O };
}

export function depthwise({ x, H, W, C }, { data }) { // torch's [channel][1][tap], no bias
  const y = new Float64Array(H * W * C);
  for (let tap = 0; tap < 9; tap++) {
    const dy = Math.floor(tap / 3) - 1, dx = (tap % 3) - 1;
    const weight = Float64Array.from({ length: C }, (_, k) => data[9 * k + tap]);
    for (let r = Math.max(0, -dy); r < Math.min(H, H - dy); r++)
      for (let c = Math.max(0, -dx); c < Math.min(W, W - dx); c++) {
        const to = (r * W + c) * C, from = to + (dy * W + dx) * C;
        for (let k = 0; k < C; k++) y[to + k] += x[from + k] * weight[k];
      }
  }
  return y;
}

// Cosine and sine (to[i], to[i + 1]) to 1e-9, in less than half of the time of a browser's own: x is taken apart into a
// multiple of pi and a rest for a Taylor polynomial, whose terms follow from each other by factors.
const [C1, C2, C3, C4, C5, C6, C7] = [1, 2, 3, 4, 5, 6, 7].map((n) => -1 / (2 * n * (2 * n - 1)));
const [S1, S2, S3, S4, S5, S6, S7] = [1, 2, 3, 4, 5, 6, 7].map((n) => -1 / (2 * n * (2 * n + 1)));

export function turn(x, to, i) {
  const n = Math.round(x / Math.PI), r = x - n * Math.PI, q = r * r, sign = 1 - 2 * (n & 1);
  to[i] = sign * (1 + q * C1 * (1 + q * C2 * (1 + q * C3 * (1 + q * C4 * (1 + q * C5 * (1 + q * C6 * (1 + q * C7)))))));
  to[i + 1] = sign * r *
    (1 + q * S1 * (1 + q * S2 * (1 + q * S3 * (1 + q * S4 * (1 + q * S5 * (1 + q * S6 * (1 + q * S7)))))));
}

// GELU's own error function, to 1.5e-7: Abramowitz and Stegun, 7.1.26.
export function gelu(v) {
  const z = Math.abs(v) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
  const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  const erf = 1 - tail * Math.exp(-z * z);
  return v * 0.5 * (1 + (v < 0 ? -erf : erf));
}

export function best(v) {
  let top = 0;
  for (let i = 1; i < v.length; i++) if (v[i] > v[top]) top = i;
  return top;
}

// ---- a worker's program has a function `answer`: it is given first the files, then jobs, each with its own number

if (typeof document === "undefined" && typeof postMessage === "function")
  self.onmessage = ({ data: { number, ...job } }) => {
    try { postMessage({ number, ...answer(job) }); } catch (error) { postMessage({ number, failed: String(error) }); }
  };
