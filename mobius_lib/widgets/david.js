// A David of one scale (mobius_lib.simplex.david) in a worker: of every row of features what no slider changes, namely
// its position before the staircase, its point on the sphere, and its cosine and distance to each class.

const norm = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0)) || 1;
const unit = (v) => { const size = norm(v); return v.map((x) => x / size); };

export function network(buffer) { // its weights, and the features that the same file holds
  const all = tensors(buffer), numbers = (name) => all[name].data;
  const head = Object.keys(all).find((name) => name.endsWith("class_prototypes")).replace("class_prototypes", "");
  const { shape: [C, V, D], data: vertices } = all[head + "class_prototypes"];
  const named = (name) => ({ weight: numbers(name + ".weight"), bias: numbers(name + ".bias") });
  const directions = new Float64Array(C * D);
  for (let c = 0; c < C; c++)
    directions.set(unit(Float64Array.from({ length: D }, (_, d) => {
      let sum = 0;
      for (let v = 0; v < V; v++) sum += vertices[(c * V + v) * D + d];
      return sum;
    })), c * D);
  return {
    C, V, D, vertices, directions, prototypes: numbers(head + "cantor_prototypes"), features: all.features,
    first: named(head + "projection.0"), layerNorm: named(head + "projection.2"), last: named(head + "projection.3"),
    line: named("cantor_stairs.feature_to_position"),
  };
}

export function read(net, features, P) { // P rows of features
  const { C, V, D, vertices, directions, line, first, layerNorm, last } = net;
  const K = features.length / P, H = first.bias.length;
  const rows = new Float64Array(P * K), x = new Float64Array(P), q = new Float64Array(P * D);
  for (let p = 0; p < P; p++) {
    rows.set(unit(features.subarray(p * K, (p + 1) * K)), p * K);
    let sum = line.bias[0];
    for (let k = 0; k < K; k++) sum += line.weight[k] * rows[p * K + k];
    x[p] = 1 / (1 + Math.exp(-sum));
  }
  const hidden = matrix(rows, first.weight, first.bias, P, K, H).map(gelu);
  for (let p = 0; p < P; p++) {
    const h = hidden.subarray(p * H, (p + 1) * H), mean = h.reduce((a, b) => a + b) / H;
    const size = Math.sqrt(h.reduce((sum, v) => sum + (v - mean) ** 2, 0) / H + 1e-5);
    for (let i = 0; i < H; i++) h[i] = ((h[i] - mean) / size) * layerNorm.weight[i] + layerNorm.bias[i];
  }
  const projected = matrix(hidden, last.weight, last.bias, P, H, D);
  for (let p = 0; p < P; p++) q.set(unit(projected.subarray(p * D, (p + 1) * D)), p * D);
  const cosine = matrix(q, directions, null, P, D, C), distance = new Float64Array(P * C).fill(Infinity);
  for (let p = 0; p < P; p++)
    for (let i = 0; i < C * V; i++) {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += (q[p * D + d] - vertices[i * D + d]) ** 2;
      const at = p * C + Math.floor(i / V);
      distance[at] = Math.min(distance[at], Math.sqrt(sum));
    }
  return { x, q, cosine, distance };
}

let net = null;

export function answer({ files, from, to }) {
  if (files) net = network(files.weights);
  const { C, V, D, vertices, directions, prototypes, features: { shape: [, K], data } } = net;
  return to ? read(net, data.subarray(from * K, to * K), to - from) : { C, V, D, vertices, directions, prototypes };
}
