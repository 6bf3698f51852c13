// Chapter 5's language models in a worker, a character at a time: `TwistorHopeArchitecture`, with any of its parts left
// out, and an LSTM. A twistor of n pairs is [Re omega | Im omega | Re pi | Im pi], as in twistor/math.py; the Möbius
// cycles come as the 4 x 4 matrices that they make, and the levels' weights as they stood after training.

const zeros = (n) => new Float64Array(n);
const linear = ({ w, b, K, O }, x) => matrix(x, w, b, 1, K, O);

function normed({ weight, bias }, x) { // a layer norm
  const mean = x.reduce((p, q) => p + q) / x.length;
  const size = 1 / Math.sqrt(x.reduce((p, q) => p + (q - mean) ** 2, 0) / x.length + 1e-5);
  return x.map((v, i) => (v - mean) * size * weight[i] + bias[i]);
}

// ---- twistors

export function moved(z, m) { // `turn`: each pair by its matrix, m [4][4][n], then back to its length
  const n = z.length / 4, to = zeros(4 * n);
  for (let k = 0; k < n; k++) {
    let before = 1e-12, after = 1e-12;
    for (let i = 0; i < 4; i++) {
      const v = m[4 * i * n + k] * z[k] + m[(4 * i + 1) * n + k] * z[n + k] + m[(4 * i + 2) * n + k] * z[2 * n + k] +
        m[(4 * i + 3) * n + k] * z[3 * n + k];
      to[i * n + k] = v;
      before += z[i * n + k] ** 2;
      after += v * v;
    }
    const stretch = Math.sqrt(before / after);
    for (let i = k; i < 4 * n; i += n) to[i] *= stretch;
  }
  return to;
}

export function shear(z, controls) { // each pair by the map of its b, c and d, [6][n], then back to its length
  const n = z.length / 4, to = zeros(4 * n);
  for (let k = 0; k < n; k++) {
    let [a, b, c, d] = [0, n, 2 * n, 3 * n].map((i) => z[i + k]);
    const [p, q, r, s, u, v] = [0, 1, 2, 3, 4, 5].map((i) => controls[i * n + k]);
    const before = a * a + b * b + c * c + d * d + 1e-12;
    [a, b] = [a + p * c - q * d, b + p * d + q * c];
    [c, d] = [c + r * a - s * b, d + r * b + s * a];
    [a, b] = [a + u * c - v * d, b + u * d + v * c];
    const stretch = Math.sqrt(before / (a * a + b * b + c * c + d * d + 1e-12));
    [a, b, c, d].forEach((x, i) => { to[i * n + k] = x * stretch; });
  }
  return to;
}

export function byPhase(z, profile) { // only the phases of the components, and one size each for omega and pi
  const n = z.length / 4, to = zeros(4 * n);
  for (const half of [0, 1]) {
    const at = 2 * half * n, own = profile.subarray(half * n, (half + 1) * n), length = zeros(n);
    let size = 0, squares = 0;
    for (let k = 0; k < n; k++) {
      length[k] = Math.sqrt(z[at + k] ** 2 + z[at + n + k] ** 2 + 1e-12);
      size += length[k] * own[k];
      squares += own[k] ** 2;
    }
    for (let i = 0; i < 2 * n; i++) to[at + i] = (z[at + i] * (size / squares) * own[i % n]) / length[i % n];
  }
  return to;
}

export function holdPairing(z, modulus) { // moved along the gradient of |omega . pi| until that is the modulus
  const n = z.length / 4, part = (i) => z.subarray(i * n, (i + 1) * n), [a, b, c, d] = [0, 1, 2, 3].map(part);
  let real = 0, imag = 0, norm = 0;
  for (let k = 0; k < n; k++) {
    real += a[k] * c[k] - b[k] * d[k];
    imag += a[k] * d[k] + b[k] * c[k];
    norm += a[k] ** 2 + b[k] ** 2 + c[k] ** 2 + d[k] ** 2;
  }
  const size = Math.hypot(real, imag), gap = modulus - size;
  const root = Math.sqrt(Math.max(norm ** 2 + 4 * size * gap, 1e-24)), mu = (2 * gap) / Math.max(norm + root, 1e-12);
  const [u, v] = size ? [(mu * real) / size, (mu * imag) / size] : [mu, 0];
  const f = (i, x, g, y, h) => g.map((w, k) => z[i * n + k] + x * w + y * h[k]);
  return Float64Array.of(...f(0, u, c, v, d), ...f(1, v, c, -u, d), ...f(2, u, a, v, b), ...f(3, v, a, -u, b));
}

// ---- the twistor model

function layersOf(all, name) { // of a torch.nn.Sequential, the linear ones
  const names = Array.from({ length: 9 }, (_, i) => `${name}.${i}`);
  return names.filter((each) => all[each + ".weight"]?.shape.length === 2).map((each) => linearOf(all, each));
}

function linearOf(all, name) {
  const { shape: [O, K], data } = all[name + ".weight"];
  return { w: data, b: all[name + ".bias"]?.data ?? null, K, O };
}

// Of `off`, the names of the parts that are left out: mobius, memory, nested, scales.
export function twistor(all, { periods, rates, constraint }) {
  const data = (name) => all[name]?.data, within = "self_modifying.";
  const cells = [], between = [], slots = [], levels = [];
  for (let l = 0, at; all[(at = `${within}recurrent.forwards.${l}.`) + "recur.weight"]; l++) {
    between.push(data(`${within}recurrent.between.${l - 1}.cycles.matrix`));
    cells.push({
      input: linearOf(all, at + "input"), recur: linearOf(all, at + "recur"), matrix: data(at + "mobius.matrix"),
      networks: periods.map((_, s) => layersOf(all, `${at}evolution.${s}`)),
      mix: periods.length ? softmax(data(at + "scale_weights")) : [],
      surprise: data(at + "surprise"), rate: data(at + "rate"),
    });
  }
  const narrow = all[within + "recurrent.out.weight"] ? linearOf(all, within + "recurrent.out") : null;
  const own = all[within + "mobius.down.weight"] ? {
    matrix: data(within + "mobius.cycles.matrix"), down: linearOf(all, within + "mobius.down"),
    up: linearOf(all, within + "mobius.up"), strength: data(within + "mobius.strength")[0],
  } : null;
  const memory = all["memory.pace"] ? {
    pace: data("memory.pace").map(sigmoid), select: linearOf(all, "memory.select"),
    value: linearOf(all, "memory.value"), out: linearOf(all, "memory.out"),
    profile: data("memory.compression.log_profile")?.map(Math.exp),
  } : null;
  memory?.pace.forEach((_, k) => slots.push({
    start: data("memory.start").slice(k * memory.value.O, (k + 1) * memory.value.O),
    matrix: data(`memory.cycles.${k}.matrix`),
  }));
  for (let l = 0; all[`nested.omega_nets.${l}.0.weight`]; l++)
    levels.push([layersOf(all, `nested.omega_nets.${l}`), layersOf(all, `nested.pi_nets.${l}`)]);
  const out = linearOf(all, "out"), head = linearOf(all, "head"), H = cells[0].recur.K;
  const norm = { weight: data("norm.weight"), bias: data("norm.bias") };

  function evolve(network, z) { // GELU between, tanh at the end
    network.forEach((layer, i) => { z = linear(layer, z).map(i < network.length - 1 ? gelu : Math.tanh); });
    return z;
  }

  function step(cell, x, state, off) { // `TwistorTitansCell.step`
    const drive = linear(cell.input, x), back = linear(cell.recur, state.hidden), before = state.twistor;
    const gate = (i, f) => Float64Array.from({ length: H }, (_, k) => f(drive[i * H + k] + back[i * H + k]));
    const [i, f, o] = [0, 1, 2].map((n) => gate(n, sigmoid)), g = gate(3, Math.tanh);
    let z = before.map((v, k) => f[k] * v + i[k] * g[k]), { held } = state;
    if (periods.length && !off.includes("scales")) {
      held = held.map((last, s) => (state.clock % periods[s] ? last : evolve(cell.networks[s], z)));
      let logit = cell.rate[0];
      cell.surprise?.forEach((v, k) => { logit += (Math.abs(g[k] - before[k]) * v) / Math.sqrt(H); });
      const r = rates[0] + (rates[1] - rates[0]) * sigmoid(logit);
      z = z.map((v, k) => v + r * held.reduce((sum, e, s) => sum + cell.mix[s] * e[k], 0));
    }
    if (cell.matrix && !off.includes("mobius")) z = moved(z, cell.matrix);
    return { twistor: z, hidden: z.map((v, k) => o[k] * Math.tanh(v)), held, clock: state.clock + 1 };
  }

  function remember(x, before, off) { // `TwistorMemorySystem`: each slot is written, and then read
    const chosen = linear(memory.select, x), K = slots.length, value = linear(memory.value, x), mixed = zeros(x.length);
    const written = softmax(chosen.subarray(0, K)).map((v, k) => v * memory.pace[k]);
    const read = softmax(chosen.subarray(K));
    const after = before.map((slot, k) => {
      const heard = slots[k].matrix && !off.includes("mobius") ? moved(value, slots[k].matrix) : value;
      return slot.map((v, i) => (1 - written[k]) * v + written[k] * heard[i]);
    });
    after.forEach((slot, k) => {
      const seen = memory.profile ? byPhase(slot, memory.profile) : slot;
      for (let i = 0; i < mixed.length; i++) mixed[i] += read[k] * seen[i];
    });
    const put = linear(memory.out, mixed);
    return { y: x.map((v, i) => v + put[i]), slots: after, written: [...written], read: [...read] };
  }

  function nest(x) { // `TwistorNestedLearning`: after each level the pairing is held
    const size = 1 / Math.sqrt(x.reduce((p, q) => p + q * q, 0) / x.length + 1e-6), half = x.length / 2;
    const weights = data("nested.level_weights"), origin = data("nested.origin");
    let z = x.map((v, i) => v * size + origin[i]);
    levels.forEach((networks, l) => {
      const steps = networks.map(([first, second], part) =>
        linear(second, linear(first, z.subarray(part * half, (part + 1) * half)).map(gelu)));
      z = z.map((v, i) => v + weights[i < half ? l : levels.length + l] * steps[+(i >= half)][i % half]);
      if (constraint !== null) z = holdPairing(z, (constraint * z.length) / 4);
    });
    return z;
  }

  return {
    start: () => ({
      layers: cells.map(() => ({ twistor: zeros(H), hidden: zeros(H), held: periods.map(() => zeros(H)), clock: 0 })),
      slots: slots.map(({ start }) => start),
    }),
    read(token, state, off) {
      const wide = all["embedding.weight"].shape[1], layers = [];
      let x = data("embedding.weight").slice(token * wide, (token + 1) * wide), told = {}, after = state.slots;
      cells.forEach((cell, l) => {
        if (between[l] && !off.includes("mobius")) x = moved(x, between[l]);
        layers.push(step(cell, x, state.layers[l], off));
        x = layers[l].hidden;
      });
      if (narrow) x = linear(narrow, x);
      if (own && !off.includes("mobius")) {
        const logits = linear(own.up, linear(own.down, x).map((v) => v * sigmoid(v)));
        x = shear(moved(x, own.matrix), logits.map((v) => own.strength * Math.tanh(v)));
      }
      if (memory && !off.includes("memory")) {
        const { y, slots: last, ...shares } = remember(x, state.slots, off);
        [x, after, told] = [y, last, shares];
      }
      if (levels.length && !off.includes("nested")) x = nest(x);
      const logits = [...linear(head, normed(norm, linear(out, x)))];
      return { state: { layers, slots: after }, logits, points: layers.map(({ twistor: z }) => [...z]), ...told };
    },
  };
}

// ---- the LSTM (`RecurrentModel`), with either of its heads

export function lstm(all) {
  const layers = [], bare = all["head.weight"] ? linearOf(all, "head") : null, head = layersOf(all, "head");
  for (let l = 0; all["cells.weight_ih_l" + l]; l++) {
    const part = (k) => ({ w: all[`cells.weight_${k}_l${l}`].data, b: all[`cells.bias_${k}_l${l}`].data,
      O: all[`cells.weight_${k}_l${l}`].shape[0], K: all[`cells.weight_${k}_l${l}`].shape[1] });
    layers.push({ input: part("ih"), recur: part("hh") });
  }
  const norm = { weight: all["head.1.weight"]?.data, bias: all["head.1.bias"]?.data };
  return {
    start: () => layers.map(({ recur: { K } }) => ({ cell: zeros(K), hidden: zeros(K) })),
    read(token, state) {
      const wide = all["embedding.weight"].shape[1];
      let x = all["embedding.weight"].data.slice(token * wide, (token + 1) * wide);
      const after = layers.map(({ input, recur }, l) => {
        const { cell, hidden } = state[l], H = cell.length, drive = linear(input, x), back = linear(recur, hidden);
        const gate = (i, f, k) => f(drive[i * H + k] + back[i * H + k]);
        const z = cell.map((v, k) => gate(1, sigmoid, k) * v + gate(0, sigmoid, k) * gate(2, Math.tanh, k));
        x = z.map((v, k) => gate(3, sigmoid, k) * Math.tanh(v));
        return { cell: z, hidden: x };
      });
      const logits = bare ? linear(bare, x) : linear(head[1], normed(norm, linear(head[0], x)));
      return { state: after, logits: [...logits] };
    },
  };
}

// ---- in the worker

const MODELS = { twistor, lstm }, voices = {};
let weights = null, facts = null;

export function surprise(logits, token) { // bits
  const top = Math.max(...logits);
  return (top + Math.log(logits.reduce((sum, v) => sum + Math.exp(v - top), 0)) - logits[token]) / Math.LN2;
}

// Reads at most so many tokens more than at the last call of `who`, from the first on that is not as it was there.
export function answer({ files, who, model, tokens, off, most }) {
  if (files) {
    weights = tensors(files.weights);
    facts = JSON.parse(new TextDecoder().decode(new Uint8Array(files.facts)));
    return {};
  }
  const own = (name) => Object.fromEntries(Object.entries(weights).filter(([k]) => k.startsWith(name + "."))
    .map(([k, v]) => [k.slice(name.length + 1), v]));
  const voice = (voices[who] ??= { net: MODELS[model](own(model), facts), off: "", read: [], states: [] });
  if (voice.off !== off.join()) Object.assign(voice, { off: off.join(), read: [] });
  let from = 0;
  while (from < voice.read.length && voice.read[from] === tokens[from]) from++;
  voice.read.length = voice.states.length = from;
  const rows = [];
  while (voice.read.length < tokens.length && rows.length < most) {
    const token = tokens[voice.read.length];
    const before = voice.states.at(-1);
    const { state, ...told } = voice.net.read(token, before?.state ?? voice.net.start(), off);
    voice.read.push(token);
    voice.states.push({ state, logits: told.logits });
    rows.push({ ...told, bits: before ? surprise(before.logits, token) : null });
  }
  return { from, rows };
}
