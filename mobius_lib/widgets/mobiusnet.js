// A folded MobiusNet (mobius_lib.waves.fast.fold) in a worker: logits, and what the gates did on the way. `settings`
// are the numbers that a reader turns: omega, alpha and xor_weight, one of each per block.

export const network = (buffer) => assembled(tensors(buffer));

export function assembled(all) { // its weights, in the order in which the forward pass reads them
  const numbers = (name) => all[name].data;
  const conv = (name) => ({ weights: taps(all[name + ".weight"]), bias: numbers(name + ".bias") });
  const stages = [];
  for (let i = 0; all[`stages.${i}.0.out.weight`]; i++) {
    const blocks = [];
    for (let j = 0, at; all[(at = `stages.${i}.${j}.`) + "out.weight"]; j++) {
      const lens = at + "gate.lens.", path = (k) =>
        ({ drift: numbers(`${lens}drift_${k}`), phase: numbers(`${lens}phase_${k}`) });
      blocks.push({
        depthwise: all[at + "depthwise.weight"], matrix: numbers(at + "matrix.weight"),
        bias: numbers(at + "matrix.bias"), out: numbers(at + "out.weight"), keep: numbers(at + "keep")[0],
        scales: numbers(lens + "scales"), paths: ["l", "m", "r"].map(path),
        weights: softmax(numbers(lens + "accum_weights")),
        norm: { weight: numbers(lens + "gate_norm.weight"), bias: numbers(lens + "gate_norm.bias") },
      });
    }
    stages.push({ blocks, down: all[`downsamples.${i}.weight`] ? conv("downsamples." + i) : null });
  }
  return {
    stem: conv("stem"), stages, integrator: all["integrator.0.weight"] ? conv("integrator.0") : null,
    head: { weights: numbers("head.weight"), bias: numbers("head.bias") },
  };
}

// The three waves at u = tanh x. The product over scales of exp(-a sin^2 p) is exp of a sum of (cos 2p - 1) a / 2, and
// cos(A + B) takes apart what the paths share, A = 2 s omega u, from B, which a position has once: `shift` sets its t.
// (No function is made on the way: a browser compiles calls of one and the same.)
function waver({ scales, paths }, { omega, alpha }) {
  const [f, g] = scales.map((s) => 2 * s * omega), half = (Math.abs(alpha) + 0.1) / 2;
  return { paths, f, g, half, shared: new Float64Array(4), own: new Float64Array(12) };
}

function shift({ paths, f, g, own }, t) {
  for (let k = 0; k < 3; k++) {
    const { drift, phase } = paths[k];
    turn(f * drift[0] * t + 2 * phase[0], own, 4 * k);
    turn(g * drift[1] * t + 2 * phase[1], own, 4 * k + 2);
  }
}

function wave({ f, g, half, shared, own }, u, to) {
  turn(f * u, shared, 0);
  turn(g * u, shared, 2);
  const c = shared[0], d = shared[1], e = shared[2], h = shared[3];
  for (let k = 0, i = 0; k < 3; k++, i += 4)
    to[k] = Math.exp(half * (c * own[i] - d * own[i + 1] + e * own[i + 2] - h * own[i + 3] - 2));
}

// Multiplies h, [P][C], by its gate, in place; gives the mean drift coordinate, and fills `gates` where there are some.
export function gated(h, P, C, block, own, gates) {
  const [wl, wm, wr] = block.weights, v = sigmoid(own.xor_weight), { weight, bias } = block.norm;
  const waves = waver(block, own);
  const u = new Float64Array(C), pattern = new Float64Array(C), three = new Float64Array(3);
  let loudness = 0;
  for (let p = 0, at = 0; p < P; p++, at += C) {
    let t = 0, sum = 0, squares = 0;
    for (let c = 0; c < C; c++) t += Math.abs((u[c] = 1 - 2 / (Math.exp(2 * h[at + c]) + 1)));
    shift(waves, t / C);
    loudness += t / C;
    for (let c = 0; c < C; c++) {
      wave(waves, u[c], three);
      const l = three[0], m = three[1], r = three[2], and = l * r, xor = l + r - 2 * and;
      sum += pattern[c] = (wl * l + wm * m + wr * r) * (0.5 + 0.5 * (v * xor + (1 - v) * and));
    }
    const mean = sum / C;
    for (let c = 0; c < C; c++) squares += (pattern[c] - mean) ** 2;
    const size = 1 / Math.sqrt(squares / C + 1e-5);
    for (let c = 0; c < C; c++) {
      const g = sigmoid((pattern[c] - mean) * size * weight[c] + bias[c]);
      h[at + c] *= g;
      if (gates) gates[at + c] = g;
    }
  }
  return loudness / P;
}

const CURVE = 49, TILES = 16;

// Of a block, for the eye: 16 of its channels' gates as pictures, how many gates stand above one half, the tenth and
// the ninetieth of a hundred gates in order, and the waves over u from -1 to 1 at the mean drift coordinate.
function reading(block, own, gates, { H, W, C }, t) {
  const sorted = gates.slice().sort(), waves = waver(block, own), three = new Float64Array(3), P = H * W;
  shift(waves, t);
  const tiles = Array.from({ length: Math.min(TILES, C) }, (_, i) => {
    const c = Math.floor((i * C) / Math.min(TILES, C));
    return Float32Array.from({ length: P }, (_, p) => gates[p * C + c]);
  });
  const curves = Array.from({ length: CURVE }, (_, i) => {
    wave(waves, (2 * i) / (CURVE - 1) - 1, three);
    return [...three];
  });
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  const open = gates.filter((g) => g > 0.5).length / gates.length;
  return { H, W, tiles, t, open, low: at(0.1), high: at(0.9), curves };
}

export function forward(net, settings, pixels, side, read = false) { // pixels: normalised, side x side
  let x = convolve({ x: pixels, H: side, W: side, C: 1 }, net.stem.weights, net.stem.bias), index = 0;
  const blocks = [];
  for (const { blocks: stage, down } of net.stages) {
    for (const block of stage) {
      const { H, W, C } = x, P = H * W, gates = read ? new Float64Array(P * C) : null;
      const own = Object.fromEntries(Object.entries(settings).map(([name, values]) => [name, values[index]]));
      index++;
      const h = matrix(depthwise(x, block.depthwise), block.matrix, block.bias, P, C, C);
      const t = gated(h, P, C, block, own, gates);
      const out = matrix(h, block.out, null, P, C, C);
      for (let i = 0; i < out.length; i++) out[i] += block.keep * x.x[i];
      if (read) blocks.push(reading(block, own, gates, x, t));
      x = { x: out, H, W, C };
    }
    if (down) x = convolve(x, down.weights, down.bias, 2);
  }
  if (net.integrator) {
    x = convolve(x, net.integrator.weights, net.integrator.bias);
    x.x = x.x.map(gelu);
  }
  const P = x.H * x.W, pooled = new Float64Array(x.C);
  for (let i = 0; i < x.x.length; i++) pooled[i % x.C] += x.x[i] / P;
  return { logits: [...matrix(pooled, net.head.weights, net.head.bias, 1, x.C, net.head.bias.length)], blocks };
}
