// Chapter 1's network at work in a worker: one picture with all that is seen of its way, or the classes of many.

let net = null, pictures = null, facts = null;

// Of every picture that is judged: with which settings it was, and what then came into the block that they changed first
// (`start`, in single precision). Blocks before it have to be computed again only where their own settings change.
export const past = new Map();

function judged(row, settings, keep) { // keep: whether this worker is the one that is asked for the picture again
  const before = past.get(row), start = before?.start, count = net.blocks.length;
  let turned = 0; // the first block with other settings than before
  while (turned < count && before && Object.keys(settings).every((k) => settings[k][turned] === before.settings[k][turned]))
    turned++;
  const go = start && start.index <= turned ? { ...start, x: room("start", start.x.length) } : null;
  go?.x.set(start.x);
  const at = !before ? count - 1 : turned < count ? turned : start?.index, now = { settings, start: null };
  const pixels = go ? null : normal(bytesOf(row));
  const { logits } = forward(net, settings, pixels, facts.side, false, go, (index, { x, H, W, C }) => {
    if (!keep || !index || index !== at) return;
    const kept = start?.x.length === x.length ? start.x : new Float32Array(x.length);
    kept.set(x);
    now.start = { index, x: kept, H, W, C };
  });
  if (keep) past.set(row, now);
  return best(logits);
}

const normal = (bytes) => Float64Array.from(bytes, (v) => (v - facts.mean) / facts.deviation);
const bytesOf = (row) => pictures.subarray(row * facts.side ** 2, (row + 1) * facts.side ** 2);

// The gates of a block side by side, as the bytes of a picture: from dark blue to yellow, after the map cividis.
const RAMP = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]];
const INKS = Uint32Array.from({ length: 256 }, (_, n) => {
  const i = Math.floor(n / 64), [r, g, b] = RAMP[i].map((c, k) => c + (n / 64 - i) * (RAMP[i + 1][k] - c));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

function mosaic({ tiles, H, W, ...rest }) {
  const across = Math.ceil(Math.sqrt(tiles.length)), wide = across * W;
  const inks = new Uint32Array(wide * Math.ceil(tiles.length / across) * H).fill(255 << 24);
  tiles.forEach((tile, i) => {
    for (let y = 0, from = 0, at = (Math.floor(i / across) * H) * wide + (i % across) * W; y < H; y++, at += wide)
      for (let x = 0; x < W; x++) inks[at + x] = INKS[Math.floor(255.9 * tile[from++])];
  });
  return { ...rest, wide, bytes: new Uint8ClampedArray(inks.buffer) };
}

export function answer({ files, settings, rows, drawn, read, own }) {
  if (files) {
    net = network(files.weights);
    pictures = new Uint8Array(files.pictures);
    facts = JSON.parse(new TextDecoder().decode(new Uint8Array(files.facts)));
    return {};
  }
  if (!read) return { classes: rows.map((row) => judged(row, settings, own)) };
  const { logits, blocks } = forward(net, settings, normal(drawn ?? bytesOf(rows[0])), facts.side, true);
  const seen = blocks.map(mosaic);
  return { logits, blocks: seen, moved: seen.map(({ bytes }) => bytes.buffer) };
}
