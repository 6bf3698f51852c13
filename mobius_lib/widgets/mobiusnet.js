// A folded MobiusNet (mobius_lib.waves.fast.fold) in a worker: logits, and what the gates did on the way. `settings`
// are the numbers that a reader turns: omega, alpha and xor_weight, one of each per block.

export const network = (buffer) => assembled(tensors(buffer));

export function assembled(all) { // its weights, in the order in which the forward pass reads them
  const numbers = (name) => all[name].data;
  const conv = (name) => ({ weights: taps(all[name + ".weight"]), bias: numbers(name + ".bias") });
  const blocks = [];
  for (let i = 0; all[`stages.${i}.0.out.weight`]; i++)
    for (let j = 0, at; all[(at = `stages.${i}.${j}.`) + "out.weight"]; j++) {
      const lens = at + "gate.lens.", path = (k) =>
        ({ drift: numbers(`${lens}drift_${k}`), phase: numbers(`${lens}phase_${k}`) });
      const last = !all[`stages.${i}.${j + 1}.out.weight`], down = last && all[`downsamples.${i}.weight`];
      blocks.push({
        down: down ? conv("downsamples." + i) : null,
        depthwise: numbers(at + "depthwise.weight"), matrix: numbers(at + "matrix.weight"),
        bias: numbers(at + "matrix.bias"), out: numbers(at + "out.weight"), keep: numbers(at + "keep")[0],
        scales: numbers(lens + "scales"), paths: ["l", "m", "r"].map(path),
        weights: softmax(numbers(lens + "accum_weights")),
        norm: { weight: numbers(lens + "gate_norm.weight"), bias: numbers(lens + "gate_norm.bias") },
      });
    }
  return {
    stem: conv("stem"), blocks, integrator: all["integrator.0.weight"] ? conv("integrator.0") : null,
    head: { weights: numbers("head.weight"), bias: numbers("head.bias") },
  };
}

// The three waves at u = tanh x. Each is a product over the scales of exp(-a sin^2 p) = exp((cos 2p - 1) a / 2), one
// function of the angle 2p for all of them: `crest` has its value, slope and half its curvature at 512 angles of a turn.
const TURN = 512, ANGLES = Array.from({ length: TURN }, (_, i) => (2 * Math.PI * i) / TURN);
const COSINES = ANGLES.map(Math.cos), SINES = ANGLES.map(Math.sin);

function waver(block, { omega, alpha }) { // all angles in steps of the table; made once for many pictures
  if (block.waver?.omega === omega && block.waver.alpha === alpha) return block.waver;
  const { scales, paths } = block;
  const unit = TURN / (2 * Math.PI), pace = scales.map((s) => 2 * s * omega * unit), a = (Math.abs(alpha) + 0.1) / 2;
  const crest = new Float64Array(3 * TURN);
  for (let i = 0; i < TURN; i++) {
    const v = Math.exp(a * (COSINES[i] - 1)), slope = -a * SINES[i];
    crest[3 * i] = v;
    crest[3 * i + 1] = (v * slope) / unit;
    crest[3 * i + 2] = (v * (slope * slope - a * COSINES[i])) / (2 * unit * unit);
  }
  return (block.waver = { omega, alpha, paths, unit, pace, crest, own: new Float64Array(6) });
}

const FAR = TURN << 20; // so far on, no angle of |omega| below 5e5 is negative: cutting its digits off rounds it down

function shift({ paths, unit, pace, own }, t) { // where a position has its waves, so far on
  for (let k = 0; k < 6; k++) {
    const { drift, phase } = paths[k >> 1], s = k & 1;
    own[k] = pace[s] * drift[s] * t + 2 * phase[s] * unit + FAR;
  }
}

function height(crest, angle) {
  const n = (angle + 0.5) | 0, r = angle - n, i = 3 * (n & (TURN - 1));
  return crest[i] + r * (crest[i + 1] + r * crest[i + 2]);
}

// The gates of h, [P][C], which becomes what they let pass; gives the mean drift coordinate. (One function that calls only
// small ones: a browser then compiles it as a whole; in parts it takes twice as long.)
export function gated(h, P, C, block, settings, gates) {
  const v = sigmoid(settings.xor_weight), either = 0.5 * v, both = 0.5 - 1.5 * v, { weight, bias } = block.norm;
  const waves = waver(block, settings), { crest, own } = waves;
  const f = waves.pace[0], g = waves.pace[1], wl = block.weights[0], wm = block.weights[1], wr = block.weights[2];
  const u = new Float64Array(C), pattern = new Float64Array(C);
  let loudness = 0;
  for (let p = 0, at = 0; p < P; p++, at += C) {
    let t = 0, sum = 0, squares = 0;
    for (let c = 0; c < C; c++) t += Math.abs((u[c] = tanh(h[at + c])));
    shift(waves, t / C);
    loudness += t / C;
    const o0 = own[0], o1 = own[1], o2 = own[2], o3 = own[3], o4 = own[4], o5 = own[5];
    for (let c = 0; c < C; c++) {
      const x = f * u[c], y = g * u[c], l = height(crest, x + o0) * height(crest, y + o1);
      const m = height(crest, x + o2) * height(crest, y + o3), r = height(crest, x + o4) * height(crest, y + o5);
      // of v for l + r - 2 l r, their xor, and the rest for l r, their and, the half
      const drawn = (wl * l + wm * m + wr * r) * (0.5 + either * (l + r) + both * l * r);
      pattern[c] = drawn;
      sum += drawn;
      squares += drawn * drawn;
    }
    const mean = sum / C, size = 1 / Math.sqrt(Math.max(squares / C - mean * mean, 0) + 1e-5);
    for (let c = 0; c < C; c++) {
      const gate = 0.5 + 0.5 * tanh(0.5 * ((pattern[c] - mean) * size * weight[c] + bias[c]));
      gates[at + c] = gate;
      h[at + c] *= gate;
    }
  }
  return loudness / P;
}

const CURVE = 49, TILES = 16;

// Of a block, for the eye: 16 of its channels' gates as pictures, how many gates stand above one half, the tenth and
// the ninetieth of a hundred gates in order, and the waves over u from -1 to 1 at the mean drift coordinate.
function reading(block, own, gates, { H, W, C }, t) {
  const sorted = gates.slice().sort(), waves = waver(block, own), P = H * W;
  shift(waves, t);
  const tiles = Array.from({ length: Math.min(TILES, C) }, (_, i) => {
    const c = Math.floor((i * C) / Math.min(TILES, C));
    return Float32Array.from({ length: P }, (_, p) => gates[p * C + c]);
  });
  const { pace, crest, own: place } = waves, curves = Array.from({ length: CURVE }, (_, i) => [0, 2, 4].map((k) => {
    const u = (2 * i) / (CURVE - 1) - 1;
    return height(crest, pace[0] * u + place[k]) * height(crest, pace[1] * u + place[k + 1]);
  }));
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  const open = gates.filter((g) => g > 0.5).length / gates.length;
  return { H, W, tiles, t, open, low: at(0.1), high: at(0.9), curves };
}

// pixels: normalised, side x side; or in their place `start`, what came into the block of that `index`. Before each block,
// `note` gets its index and what comes into it, which the next call overwrites.
export function forward(net, settings, pixels, side, read = false, start = null, note = () => {}) {
  let x = start ?? convolve({ x: pixels, H: side, W: side, C: 1 }, net.stem);
  const blocks = [];
  for (let index = start?.index ?? 0; index < net.blocks.length; index++) {
    note(index, x);
    const block = net.blocks[index], { H, W, C } = x, P = H * W, gates = room("gates", P * C);
    const own = Object.fromEntries(Object.entries(settings).map(([name, values]) => [name, values[index]]));
    const h = matrix(depthwise(x, block.depthwise), block.matrix, block.bias, P, C, C, room("h", P * C));
    const t = gated(h, P, C, block, own, gates);
    const out = matrix(h, block.out, null, P, C, C, room("out" + (index & 1), P * C));
    for (let i = 0; i < out.length; i++) out[i] += block.keep * x.x[i];
    if (read) blocks.push(reading(block, own, gates, x, t));
    x = { x: out, H, W, C };
    if (block.down) x = convolve(x, block.down, 2);
  }
  if (net.integrator) {
    x = convolve(x, net.integrator);
    x.x = x.x.map(gelu);
  }
  const P = x.H * x.W, pooled = new Float64Array(x.C);
  for (let i = 0; i < x.x.length; i++) pooled[i % x.C] += x.x[i] / P;
  return { logits: [...matrix(pooled, net.head.weights, net.head.bias, 1, x.C, net.head.bias.length)], blocks };
}
