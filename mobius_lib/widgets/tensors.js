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

// y[p][o] = bias[o] + sum over k of x[p][k] w[o][k], three by four: each number that is loaded serves several products.
// The last tile of a row or column overlaps the one before it, or where there is none, repeats itself.
// (Written as conditions, d1 to r2 are whole numbers to a browser, and all places that come of them: a fifth faster.)
export function matrix(x, w, bias, P, K, O, y = new Float64Array(P * O)) {
  const d1 = O > 1 ? 1 : 0, d2 = O > 2 ? 2 : d1, d3 = O > 3 ? 3 : d2, r1 = P > 1 ? 1 : 0, r2 = P > 2 ? 2 : r1;
  for (let tile = 0; tile < O; tile += 4) {
    const o = Math.max(0, Math.min(tile, O - 4)), w0 = o * K, w1 = w0 + d1 * K, w2 = w0 + d2 * K, w3 = w0 + d3 * K;
    const c0 = bias ? bias[o] : 0, c1 = bias ? bias[o + d1] : 0, c2 = bias ? bias[o + d2] : 0, c3 = bias ? bias[o + d3] : 0;
    if (P === 1) { // of a vector, no row twice
      let a0 = c0, a1 = c1, a2 = c2, a3 = c3;
      for (let k = 0; k < K; k++) {
        const u = x[k];
        a0 += u * w[w0 + k]; a1 += u * w[w1 + k]; a2 += u * w[w2 + k]; a3 += u * w[w3 + k];
      }
      y[o] = a0; y[o + d1] = a1; y[o + d2] = a2; y[o + d3] = a3;
      continue;
    }
    for (let three = 0; three < P; three += 3) {
      const p = Math.max(0, Math.min(three, P - 3)), x0 = p * K, x1 = x0 + r1 * K, x2 = x0 + r2 * K;
      let a0 = c0, a1 = c1, a2 = c2, a3 = c3, b0 = c0, b1 = c1, b2 = c2, b3 = c3, e0 = c0, e1 = c1, e2 = c2, e3 = c3;
      for (let k = 0; k < K; k++) {
        const s = x[x0 + k], t = x[x1 + k], u = x[x2 + k];
        let q = w[w0 + k]; a0 += s * q; b0 += t * q; e0 += u * q;
        q = w[w1 + k]; a1 += s * q; b1 += t * q; e1 += u * q;
        q = w[w2 + k]; a2 += s * q; b2 += t * q; e2 += u * q;
        q = w[w3 + k]; a3 += s * q; b3 += t * q; e3 += u * q;
      }
      const at = p * O + o, to = at + r1 * O, end = at + r2 * O;
      y[at] = a0; y[at + d1] = a1; y[at + d2] = a2; y[at + d3] = a3;
      y[to] = b0; y[to + d1] = b1; y[to + d2] = b2; y[to + d3] = b3;
      y[end] = e0; y[end + d1] = e1; y[end + d2] = e2; y[end + d3] = e3;
    }
  }
  return y;
}

const rooms = {}; // arrays for what is forgotten with the picture: made once, since pages of memory cost more than sums

export const room = (name, size) => (rooms[name + size] ??= new Float64Array(size));

function ringed({ x, H, W, C }) { // the picture with a ring of zeros, which no call overwrites
  const y = room(`ring ${H} ${W} `, (H + 2) * (W + 2) * C), wide = W * C;
  for (let r = 0; r < H; r++) {
    const from = r * wide, to = ((r + 1) * (W + 2) + 1) * C;
    for (let i = 0; i < wide; i++) y[to + i] = x[from + i];
  }
  return y;
}

// What a 3 x 3 convolution with padding 1 reads at each position: [position][tap][channel].
function windows(picture, stride) {
  const { H, W, C } = picture, ring = ringed(picture), h = Math.ceil(H / stride), w = Math.ceil(W / stride);
  const seen = room("windows", h * w * 9 * C);
  for (let r = 0, at = 0; r < h; r++)
    for (let c = 0; c < w; c++)
      for (let row = 0; row < 3; row++) {
        const from = ((stride * r + row) * (W + 2) + stride * c) * C;
        for (let k = 0; k < 3 * C; k++) seen[at++] = ring[from + k];
      }
  return { seen, h, w };
}

// Weights of a 3 x 3 convolution, from torch's [out][in][tap] to [out][tap][in].
export function taps({ shape: [O, C], data }) {
  return Float64Array.from(data, (_, i) => data[(Math.floor(i / (9 * C)) * C + (i % C)) * 9 + (Math.floor(i / C) % 9)]);
}

export function convolve(picture, { weights, bias }, stride = 1) { // weights as `taps` gives them
  const { seen, h, w } = windows(picture, stride), O = bias.length;
  return { x: matrix(seen, weights, bias, h * w, 9 * picture.C, O, room("convolved", h * w * O)), H: h, W: w, C: O };
}

// Channel by channel: the nine weights, and of the picture the columns that two positions share, stay in registers.
export function depthwise(picture, weights) { // torch's [channel][1][tap], no bias
  const { H, W, C } = picture, ring = ringed(picture), y = room("deep", H * W * C), R = (W + 2) * C;
  for (let k = 0; k < C; k++) {
    const w = 9 * k, w0 = weights[w], w1 = weights[w + 1], w2 = weights[w + 2], w3 = weights[w + 3], w4 = weights[w + 4];
    const w5 = weights[w + 5], w6 = weights[w + 6], w7 = weights[w + 7], w8 = weights[w + 8];
    for (let r = 0; r < H; r++) {
      let i = r * R + k, a = ring[i], d = ring[i + R], g = ring[i + 2 * R];
      i += C;
      let b = ring[i], e = ring[i + R], h = ring[i + 2 * R];
      for (let c = 0, to = r * W * C + k; c < W; c++, to += C) {
        i += C;
        const x = ring[i], z = ring[i + R], v = ring[i + 2 * R];
        y[to] = a * w0 + b * w1 + x * w2 + d * w3 + e * w4 + z * w5 + g * w6 + h * w7 + v * w8;
        a = b; d = e; g = h;
        b = x; e = z; h = v;
      }
    }
  }
  return y;
}

// tanh to 1e-8, without a division: the value nearby in a table, and a Taylor polynomial of what is left. (A sigmoid is a
// tanh too: half of that of half, and a half.) Beyond 10 it stays as it is there.
const BENDS = Float64Array.from({ length: 1281 }, (_, i) => Math.tanh((i - 640) / 64));

export function tanh(x) {
  const v = x < -10 ? -10 : x > 10 ? 10 : x, n = (64 * v + 640.5) | 0, r = v - (n - 640) / 64, u = BENDS[n], q = u * u;
  return u + r * (1 - q) * (1 - r * (u - r * (q - 1 / 3)));
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
    try {
      const { moved = [], ...said } = answer(job); // moved: buffers that go over and are not copied
      postMessage({ number, ...said }, moved);
    } catch (error) { postMessage({ number, failed: String(error) }); }
  };
