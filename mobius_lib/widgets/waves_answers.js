// Chapter 1's network at work in a worker: one picture with all that is seen of its way, or the classes of many.

let net = null, pictures = null, facts = null;

export function answer({ files, settings, rows, drawn, read }) {
  if (files) {
    net = network(files.weights);
    pictures = new Uint8Array(files.pictures);
    facts = JSON.parse(new TextDecoder().decode(new Uint8Array(files.facts)));
    return {};
  }
  const size = facts.side ** 2, normal = (bytes) => Float64Array.from(bytes, (v) => (v - facts.mean) / facts.deviation);
  const see = (bytes) => forward(net, settings, normal(bytes), facts.side, read);
  if (read) return see(drawn ?? pictures.subarray(rows[0] * size, (rows[0] + 1) * size));
  return { classes: rows.map((row) => best(see(pictures.subarray(row * size, (row + 1) * size)).logits)) };
}
