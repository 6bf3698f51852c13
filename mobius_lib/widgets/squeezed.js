// Chapter 4's network in a worker: other matrices from what is kept of them (mobius_lib.widgets.gauge_network.rebuilt),
// and the network with them folded (mobius_lib.waves.fast.fold).

const turned = (x, rows) => x.map((_, i) => x[(i % rows) * (x.length / rows) + Math.floor(i / rows)]); // transposed

const waves = (V) => Float64Array.from({ length: V * V }, (_, i) => { // of the orthonormal cosine transform, a row each
  const k = Math.floor(i / V);
  return Math.sqrt((k ? 2 : 1) / V) * Math.cos((Math.PI * (2 * (i % V) + 1) * k) / (2 * V));
});

export function fromWaves(w, O, K, keep) { // of (O, K) the cosine coefficients that are kept, and back again
  const [c, d] = [waves(O), waves(K)];
  const y = matrix(turned(matrix(w, d, null, O, K, K), O), c, null, K, O, O); // transposed
  const kept = turned(turned(y, K).map((v, i) => v * keep(i)), O);
  return matrix(turned(matrix(kept, turned(c, O), null, K, O, O), K), turned(d, K), null, O, K, K);
}

// Each number one of evenly spaced ones between the ends of its group of 64; every step in float32, as torch does it.
export function quantised(w, bits) {
  const f = Math.fround, levels = 2 ** bits - 1, even = (x) => {
    const r = Math.round(x);
    return r - x === 0.5 && r % 2 ? r - 1 : r;
  };
  const made = new Float64Array(w.length);
  for (let from = 0; from < w.length; from += 64) {
    const part = w.subarray(from, from + 64), low = Math.min(...part), step = f(f(Math.max(...part) - low) / levels);
    part.forEach((v, i) => { made[from + i] = f(low + f(even(f(f(v - low) / (step || 1))) * step)); });
  }
  return made;
}

export function rebuilt(form, { shape: [O], data }, own, bits) { // the numbers of the matrix, a row after the other
  const K = data.length / O;
  if (form === "quantised") return quantised(data, bits - 1);
  if (own("matrix")) return own("matrix").data;
  if (own("left")) {
    const [left, right] = [own("left"), own("right")], rank = left.shape[0];
    return matrix(turned(left.data, rank), turned(right.data, rank), null, O, rank, K);
  }
  const keep = (i) => (own("mask").data[i >> 3] >> (i & 7)) & 1;
  return form === "magnitude" ? data.map((v, i) => v * keep(i)) : fromWaves(data, O, K, keep);
}

export function folded(all) { // the inference form of a state dict
  const numbers = (name) => all[name].data, one = (name) => numbers(name)[0], out = {};
  const put = (name, shape, data) => { out[name] = { shape, data }; };
  const norm = (name) => {
    const scale = numbers(name + ".weight").map((v, i) => v / Math.sqrt(numbers(name + ".running_var")[i] + 1e-5));
    return [scale, scale.map((v, i) => numbers(name + ".bias")[i] - numbers(name + ".running_mean")[i] * v)];
  };
  const conv = (from, to) => {
    const { shape, data } = all[from + ".0.weight"], [scale, shift] = norm(from + ".1"), row = data.length / shape[0];
    put(to + ".weight", shape, data.map((v, i) => v * scale[Math.floor(i / row)]));
    put(to + ".bias", shape.slice(0, 1), shift);
  };
  const turn = (name) => {
    const { shape: [C], data } = all[name + "_proj.weight"], angle = one(name + "_angle");
    return data.map((v, i) => Math.sin(angle) * v + (i % (C + 1) ? 0 : Math.cos(angle)));
  };
  for (const name of Object.keys(all)) {
    if (name.startsWith("head.")) out[name] = all[name];
    const [at, rest] = name.split(".lens.");
    if (rest && !rest.startsWith("twist")) out[`${at}.gate.lens.${rest}`] = all[name];
    if (!name.endsWith(".conv.1.weight")) continue;
    const block = name.slice(0, -"conv.1.weight".length), { data, shape: [C] } = all[name];
    const [scale, shift] = norm(block + "conv.2"), scaled = data.map((v, i) => v * scale[Math.floor(i / C)]);
    const into = turn(block + "lens.twist_in"), left = 1 - sigmoid(one(block + "residual_weight"));
    const mask = numbers(block + "thirds_mask");
    out[block + "depthwise.weight"] = all[block + "conv.0.weight"];
    put(block + "matrix.weight", [C, C], matrix(into, turned(scaled, C), null, C, C, C));
    put(block + "matrix.bias", [C], matrix(into, shift, null, C, C, 1));
    put(block + "out.weight", [C, C], turn(block + "lens.twist_out").map((v, i) => left * mask[Math.floor(i / C)] * v));
    put(block + "keep", [], [1 - left]);
  }
  conv("stem", "stem");
  for (let i = 0; all[`downsamples.${i}.0.weight`]; i++) conv("downsamples." + i, "downsamples." + i);
  if (all["integrator.0.weight"]) conv("integrator", "integrator.0");
  return out;
}

// ---- in the worker

let base = null, kept = null, pictures = null, facts = null, made = { key: "" };

function settled({ form, bits, where }) {
  const key = [form, bits, where] + "";
  if (made.key === key) return made;
  const all = { ...base };
  for (const name of facts.layers[form]?.[bits] ?? []) {
    if (where !== "all" && facts.kinds[name] !== where) continue;
    const weight = base[name + ".weight"], own = (part) => kept[`${form}.${bits}.${name}.${part}`];
    all[name + ".weight"] = { shape: weight.shape, data: rebuilt(form, weight, own, bits) };
  }
  const lenses = Object.keys(base).filter((name) => name.endsWith(".lens.omega")).map((name) => name.slice(0, -5)).sort();
  const own = (k) => lenses.map((at) => base[at + k].data[0]);
  const settings = Object.fromEntries(["omega", "alpha", "xor_weight"].map((k) => [k, own(k)]));
  return made = { key, net: assembled(folded(all)), settings };
}

export function answer({ files, settings, rows, read }) {
  if (files) {
    [base, kept, pictures] = [tensors(files.weights), tensors(files.matrices), new Uint8Array(files.pictures)];
    facts = JSON.parse(new TextDecoder().decode(new Uint8Array(files.facts)));
    return {};
  }
  const size = facts.side ** 2, { net, settings: own } = settled(settings);
  const see = (row) => forward(net, own, Float64Array.from(pictures.subarray(row * size, (row + 1) * size), (v) =>
    (v - facts.mean) / facts.deviation), facts.side).logits;
  return read ? { logits: see(rows[0]) } : { classes: rows.map((row) => best(see(row))) };
}
