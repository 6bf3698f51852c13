// Chapter 1's widget. First the mathematics, pure and with the names of mobius_lib.waves.math; then the drawing.
// Waves are arrays over the channels of one position; tests hold them equal to the Python functions.

export const sharpness = (alpha) => Math.abs(alpha) + 0.1;
export const softXor = (l, r) => Math.abs(l + r - 2 * l * r);
export const softAnd = (l, r) => l * r;

export function wave(u, t, phase, drift, omega, alpha, scales) {
  const a = sharpness(alpha);
  return u.map((v) => {
    let sum = 0;
    for (let i = 0; i < scales.length; i++) sum += Math.sin(scales[i] * omega * (v + drift[i] * t) + phase[i]) ** 2;
    return Math.exp(-a * sum); // the product over scales of exp(-a sin^2)
  });
}

export function interference(left, middle, right, pathWeights, xorWeight) {
  const [wl, wm, wr] = softmax(pathWeights), v = sigmoid(xorWeight);
  return left.map((l, i) => {
    const r = right[i];
    return (wl * l + wm * middle[i] + wr * r) * (0.5 + 0.5 * (v * softXor(l, r) + (1 - v) * softAnd(l, r)));
  });
}

export function gate(pattern, eps = 1e-5) {
  const m = mean(pattern), sd = Math.sqrt(mean(pattern.map((p) => (p - m) ** 2)) + eps);
  return pattern.map((p) => sigmoid((p - m) / sd));
}

// (sum p)^2 / (n sum p^2): 1 where all channels are equal, 1/n where one has it all.
export const effectiveShare = (p) => mean(p) ** 2 / mean(p.map((v) => v * v));

export function lens(s, u, t) {
  const path = (k) => wave(u, t, s["phase_" + k], s["drift_" + k], s.omega, s.alpha, s.scales);
  const L = path("l"), M = path("m"), R = path("r");
  const pattern = interference(L, M, R, s.accum_weights, s.xor_weight);
  return { L, M, R, pattern, gate: gate(pattern) };
}

// ---- drawing

const N = 481, SPAN = 3;
const X = Float64Array.from({ length: N }, (_, i) => SPAN * (2 * i / (N - 1) - 1)), U = X.map(Math.tanh);
const RAMP = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]]; // after cividis

const COLORS = Array.from({ length: 256 }, (_, n) => {
  const p = n / 64, i = Math.floor(p);
  const [r, g, b] = RAMP[i].map((c, k) => c + (p - i) * (RAMP[i + 1][k] - c));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

function map(state, quick) { // the gate over (x, t), t = 1 on top, and the effective share averaged over t
  const u = U.filter((_, i) => i % (quick ? 5 : 2) === 0), rows = quick ? 24 : 64;
  const c = el("canvas", { width: u.length, height: rows }), g = c.getContext("2d");
  const img = g.createImageData(c.width, rows), pixels = new Uint32Array(img.data.buffer);
  let share = 0;
  for (let row = 0; row < rows; row++) {
    const f = lens(state, u, 1 - (row + 0.5) / rows);
    share += effectiveShare(f.pattern) / rows;
    pixels.set(f.gate.map((v) => COLORS[Math.floor(v * 256)]), row * c.width);
  }
  g.putImageData(img, 0, 0);
  return { c, share };
}

const PATHS = ["L", "M", "R"];

const MAIN = [
  ["t", null, "t", "loudness", 0, 0.99],
  ["omega", null, "ω", "frequency", 0, 6],
  ["alpha", null, "α", "sharpness", 0, 6],
  ["xor_weight", null, "v", "xor weight", -6, 6],
  ["scales", 0, "s₁", "scale", 0.1, 3],
  ["scales", 1, "s₂", "scale", 0.1, 3],
];
const WEIGHTS = PATHS.map((p, i) => ["accum_weights", i, p, "weight", -3, 3]);
const SHIFTS = ["drift", "phase"].flatMap((kind) => PATHS.flatMap((p) => [0, 1].map((i) =>
  [kind + "_" + p.toLowerCase(), i, p, `${kind} s${"₁₂"[i]}`, ...(kind[0] === "d" ? [-2, 2] : [-3.15, 3.15])])));
const TRAITS = [...new Set([...MAIN, ...WEIGHTS, ...SHIFTS].map((c) => c[0]))];

function readable(state, trait, i) {
  const v = i === null ? state[trait] : state[trait][i];
  if (trait === "xor_weight") return num(sigmoid(v)); // what it is in the equations: sliders run before the squashing
  if (trait === "accum_weights") return num(softmax(state[trait])[i]);
  return num(v) + (trait.startsWith("phase") ? " rad" : "");
}

const means = (v) => PATHS.map((p, i) => p + "\u00a0" + num(v[i])).join(", ");

function words(t, f, share) {
  const kind = share > 0.85 ? "Broad" : share > 0.4 ? "Selective" : "Winner-take-all", g = f.gate;
  const now = `At t = ${num(t)}: share ${pct(effectiveShare(f.pattern))}`;
  return [kind + " pattern", ` (share ${pct(share)} over all t). ${now}; ` +
    `gate ${num(Math.min(...g))} to ${num(Math.max(...g))}, above ½ on ${pct(mean(g.map((v) => +(v > 0.5))))}; ` +
    `means ${means([f.L, f.M, f.R].map(mean))}.`];
}

function build({ model, on, later, write, button, slider, arrows, wide, setting }) {
  // -- elements
  const initial = model.get("presets")[0].state, presets = model.get("presets").map((p) => {
    const state = { ...initial, ...p.state };
    return setting({ ...p, state, note: `α ${num(state.alpha)}` });
  });
  const canvas = el("canvas");
  const readout = el("p.mw-read"), kind = el("strong"), rest = el("span");
  const reported = el("p.mw-note");
  const nodes = [
    el("p.mw-note", {}, "A lens before training, and six trained ones, first to last"),
    group("presets", "Presets", presets),
    el("div.mw-grid", {},
      el("div.mw-plot", {}, canvas, readout),
      el("div", {}, el("p.mw-say", {}, kind, rest), ...MAIN.map(slider),
        el("details", {}, el("summary", {}, "Path weights"), ...WEIGHTS.map(slider)),
        el("details", {}, el("summary", {}, "Drifts and phases"), ...SHIFTS.map(slider)))),
    reported,
    el("p.mw-note", {}, "x is one channel after the twist; its waves see tanh x. In a lens, t is the mean " +
      `of |tanh x| over the channels; here it is free. v and the path weights are shown as they enter the pattern, between 0 and 1. The gate compares channels: the ${N} values of ` +
      "x are the channels of one position (layer norm with weight 1, bias 0). The share is (∑p)² / " +
      "n∑p² of the pattern p before that norm: broad above 85\u202f%, winner-take-all below 40\u202f%."),
  ];

  // -- picture
  const imageOf = keeper();
  let hover = null, image = null, box = null;

  function paint(s, now, quick) {
    const { t, ...shape } = s, f = lens(s, U, t), key = JSON.stringify(shape);
    let note = "";
    for (const p of presets) {
      const same = shows(s, p.state);
      press(p.b, same);
      if (same && p.means)
        note = `${p.name}: ω, α, v as published. Its drifts, phases and path weights are not; ` +
          `they are initial. Its means on its own data: ${means(p.means)}.`;
    }
    tell(reported, note);
    const width = wide(canvas);
    if (!width) return "";
    image = imageOf(key, quick, () => map(s, quick));
    const [a, b] = words(t, f, image.share);
    tell(kind, a);
    tell(rest, b);
    draw(s, f, width);
    return a + b;
  }

  function draw(s, f, W) {
    const left = 26, right = 6, head = 22, foot = 34, gap = 8;
    const h = wide(canvas.closest(".mw")) < 600 ? Math.max(70, W / 5) : 128, w = W - left - right;
    const { g, color, style, line, text, dot, outlined } = pen(canvas, W, 3 * (head + h + gap) - gap + foot);
    const px = (x) => left + (x + SPAN) / (2 * SPAN) * w, top = (k) => head + k * (head + h + gap);
    const py = (k, v) => top(k) + (1 - v) * h;
    box = { left, w, t: (y) => 1 - (y - top(2)) / h };

    for (let k = 0; k < 3; k++) {
      style("line", 1);
      for (const v of [0, 0.5, 1]) if (k < 2 || v !== 0.5) line(left, py(k, v), left + w, py(k, v));
      for (const v of [0, 1]) text(v, left - 6, py(k, v), "right");
    }
    text("t", left - 6, py(2, 0.5), "right");
    for (let x = -SPAN; x <= SPAN; x++) text(num(x, 0), px(x), py(2, 0) + 12, "center");
    text("x, one channel", left + w / 2, py(2, 0) + 27, "center");

    const fill = (v) => {
      g.beginPath();
      g.moveTo(left, py(1, 0));
      v.forEach((y, i) => g.lineTo(px(X[i]), py(1, y)));
      g.lineTo(left + w, py(1, 0));
      g.fillStyle = color("fill");
      g.fill();
    };
    let at = 0;
    const legend = (k, name, draw) => {
      const y = top(k) - 10;
      draw(left + at, y);
      text(name, left + at + 22, y, "left", "fg");
      at += g.measureText(name).width + 22 + Math.min(20, W / 35);
    };
    const curve = (k, v, name, ...stroke) => {
      style(...stroke);
      g.beginPath();
      v.forEach((y, i) => g.lineTo(px(X[i]), py(k, y)));
      g.stroke();
      legend(k, name, (x, y) => { style(...stroke); line(x, y, x + 18, y); });
    };
    curve(0, f.L, "L", "l", 2);
    curve(0, f.M, "M", "m", 2, [7, 4]);
    curve(0, f.R, "R", "r", 2, [10, 3, 2, 3]);
    at = 0;
    fill(f.pattern);
    const xor = f.L.map((l, i) => softXor(l, f.R[i])), and = f.L.map((l, i) => softAnd(l, f.R[i]));
    curve(1, f.gate, "gate", "fg", 3);
    curve(1, xor, "xor", "xor", 2, [7, 4]);
    curve(1, and, "and", "and", 2, [2, 3]);
    legend(1, "pattern", (x, y) => { g.fillStyle = color("fill"); g.fillRect(x, y - 5, 18, 10); });

    g.drawImage(image.c, left, top(2), w, h);
    text("gate over (x, t)", left, top(2) - 10, "left", "fg");
    const bar = 70, x0 = left + w - bar - 12, ink = g.createLinearGradient(x0, 0, x0 + bar, 0);
    for (let i = 0; i <= 4; i++) ink.addColorStop(i / 4, `rgb(${RAMP[i]})`);
    g.fillStyle = ink;
    g.fillRect(x0, top(2) - 15, bar, 9);
    text("0", x0 - 5, top(2) - 10, "right");
    text("1", x0 + bar + 5, top(2) - 10);
    outlined(() => { g.moveTo(left, py(2, s.t)); g.lineTo(left + w, py(2, s.t)); });

    if (!hover) return tell(readout, "Point, or use the arrow keys, to read values. Click the map to set t.");
    const i = Math.round((Math.min(Math.max((hover.x - left) / w, 0), 1)) * (N - 1));
    const own = box.t(hover.y), t = own >= 0 && own < 1 ? own : s.t, q = t === s.t ? f : lens(s, U, t);
    style("dim", 1, [3, 3]);
    line(px(X[i]), top(0), px(X[i]), py(1, 0));
    for (const [k, v, c] of [[0, f.L, "l"], [0, f.M, "m"], [0, f.R, "r"], [1, f.gate, "fg"]])
      dot(px(X[i]), py(k, v[i]), 3.5, c);
    outlined(() => g.arc(px(X[i]), py(2, t), 5, 0, 7));
    const l = q.L[i], r = q.R[i];
    tell(readout, `x ${num(X[i])}, t ${num(t)}: L ${num(l)}, M ${num(q.M[i])}, R ${num(r)}, xor ` +
      `${num(softXor(l, r))}, and ${num(softAnd(l, r))}, pattern ${num(q.pattern[i])}, gate ${num(q.gate[i])}`);
  }

  // -- events
  const point = (e) => { hover = { x: e.offsetX, y: e.offsetY }; later(); };
  const setT = (e) => {
    const t = box?.t(e.offsetY);
    if (t >= 0 && t <= 1) write({ t: Math.min(Math.round(t * 100) / 100, 0.99) });
  };
  on(canvas, "pointerdown", point);
  on(canvas, "pointermove", (e) => { point(e); if (e.buttons === 1 && e.pointerType === "mouse") setT(e); });
  on(canvas, "pointerleave", (e) => { if (e.pointerType === "mouse") { hover = null; later(); } });
  on(canvas, "click", setT);
  arrows(canvas, (d) => {
    const { x, y } = hover ?? { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 };
    hover = d && { x: clamp(x + d[0], 0, canvas.clientWidth), y: clamp(y - d[1], 0, canvas.clientHeight) };
  });
  return { nodes, canvas, paint, title: "Curves and map of waves and gate" };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
