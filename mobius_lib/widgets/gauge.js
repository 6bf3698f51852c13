// Chapter 4's widget. First the mathematics, pure and with the names of mobius_lib.gauge; then the drawing.

const SMALLEST_DIRECTION = 1e-8, DISTINCT = 1e-3;

export const kpzWidths = (sigma0, terms, exponent) =>
  Array.from({ length: terms }, (_, k) => sigma0 * (k + 1) ** exponent);

const bells = (mu, sigma, size) =>
  mu.map((m, k) => Float64Array.from({ length: size }, (_, j) => Math.exp(-(((j - m) / sigma[k]) ** 2) / 2)));

const dot2 = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };

// Eigenvalues and eigenvectors (rows) of a symmetric matrix, by Jacobi's rotations.
function eigh(m) {
  const n = m.length, a = m.map((row) => Float64Array.from(row)), v = a.map((_, i) => a[i].map((_, j) => +(i === j)));
  const all = a.reduce((sum, row, i) => sum + row[i], 0);
  const turn = (x, y, c, s) => {
    for (let k = 0; k < n; k++) {
      const p = x[k], q = y[k];
      x[k] = c * p - s * q;
      y[k] = s * p + c * q;
    }
  };
  for (let sweep = 0, off = all; sweep < 40 && off > 1e-16 * all; sweep++) {
    off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
      const b = a[p][q];
      off = Math.max(off, Math.abs(b));
      if (!b) continue;
      const h = (a[q][q] - a[p][p]) / (2 * b), t = (h < 0 ? -1 : 1) / (Math.abs(h) + Math.sqrt(1 + h * h));
      const c = 1 / Math.sqrt(1 + t * t), s = t * c;
      turn(a[p], a[q], c, s);
      for (let k = 0; k < n; k++) {
        const row = a[k], x = row[p], y = row[q];
        row[p] = c * x - s * y;
        row[q] = s * x + c * y;
      }
      turn(v[p], v[q], c, s);
    }
  }
  return { values: a.map((row, i) => row[i]), v };
}

// Orthonormal rows with the span of the Gaussians, less its weakest directions; with each, its mixture of Gaussians.
function span(g) {
  const { values, v } = eigh(g.map((p) => g.map((q) => dot2(p, q)))), top = Math.max(...values);
  return values.flatMap((value, i) => {
    if (value <= SMALLEST_DIRECTION * top) return [];
    const mix = [...v[i]].map((x) => x / Math.sqrt(value));
    const q = new Float64Array(g[0].length);
    mix.forEach((x, k) => { for (let j = 0; j < q.length; j++) q[j] += x * g[k][j]; });
    return [{ mix, q }];
  });
}

// The amplitudes that bring sum A g nearest to a row, that sum, and what is left of the row, relative to it.
export function fit(row, mu, sigma) {
  const g = bells(mu, sigma, row.length), own = span(g).map(({ mix, q }) => [mix, dot2(q, row)]);
  const amplitudes = mu.map((_, k) => own.reduce((sum, [mix, c]) => sum + c * mix[k], 0));
  const sum = row.map((_, j) => amplitudes.reduce((s, a, k) => s + a * g[k][j], 0));
  const size = Math.sqrt(dot2(row, row)), left = row.map((v, j) => v - sum[j]);
  return { g, amplitudes, sum, error: size ? Math.sqrt(dot2(left, left)) / size : 0 };
}

// Whole positions: each Gaussian where it takes most of what the others leave, then each taken out and chosen again.
// Roughly: chosen once, at positions a fifth of a width apart, by a basis that grows by one vector in each step.
export function pursue(row, sigma, rough = false) {
  const size = row.length, n = sigma.length, mu = [], grown = [];
  for (let step = 0; step < (rough ? n : 2 * n); step++) {
    const k = step % n, others = mu.map((_, i) => i).filter((i) => i !== k);
    const reach = Math.ceil((rough ? 5 : 8) * sigma[k]), stride = rough ? Math.max(2, Math.floor(sigma[k] / 5)) : 1;
    const basis = rough ? grown
      : others.length ? span(bells(others.map((i) => mu[i]), others.map((i) => sigma[i]), size)) : [];
    const rest = Float64Array.from(row), qs = basis.map(({ q }) => q);
    const e = Float64Array.from({ length: 2 * size }, (_, d) => Math.exp(-(((d - size) / sigma[k]) ** 2) / 2));
    for (const q of qs) {
      const c = dot2(q, row);
      for (let j = 0; j < size; j++) rest[j] -= c * q[j];
    }
    let most = -1, at = 0;
    for (let m = 0; m < size; m += stride) {
      const low = Math.max(0, m - reach), high = Math.min(size - 1, m + reach), to = size - m;
      let square = 0, found = 0;
      for (let j = low; j <= high; j++) {
        const w = e[to + j];
        square += w * w;
        found += w * rest[j];
      }
      let own = square;
      for (let b = 0; b < qs.length; b++) {
        const q = qs[b];
        let c = 0;
        for (let j = low; j <= high; j++) c += e[to + j] * q[j];
        own -= c * c;
      }
      const gain = own > DISTINCT * square ? (found * found) / own : 0;
      if (gain > most) [most, at] = [gain, m];
    }
    mu[k] = at;
    if (!rough) continue;
    const [q] = bells([at], [sigma[k]], size);
    for (const p of qs) {
      const c = dot2(q, p);
      for (let j = 0; j < size; j++) q[j] -= c * p[j];
    }
    const left = Math.sqrt(dot2(q, q)) || 1;
    grown.push({ q: q.map((v) => v / left) });
  }
  return mu;
}

// What is left of a row, relative to it, beside its largest coefficients of the cosine transform: of none, of one, ...
export function dctErrors(row) {
  const n = row.length, squares = row.map((_, k) =>
    ((k ? 2 : 1) / n) * row.reduce((sum, v, j) => sum + v * Math.cos((Math.PI * k * (j + 0.5)) / n), 0) ** 2);
  squares.sort((a, b) => b - a);
  const left = [0];
  for (const square of squares.reverse()) left.unshift(left[0] + square);
  return left.map((v) => (left[0] ? Math.sqrt(v / left[0]) : 0));
}

// Numbers that a V x V layer of each rung keeps: those that the library counts, and those of the note's own formulas.
const link = (n) => 3 * (65 * n + 32), rest = (n) => 3 * n + n * n;
export const STORED = {
  L1: (v, n) => 2 * v * n + n,
  L2: (v, n) => n * n + 4 * n,
  L3: (v, n) => v * n + 2 * n,
  L4: (v, n) => v * n + n + 1 + v,
  L5: (v, n) => 3 * (v * n + n + 1 + v) + link(n) + rest(n),
  L6: (v, n) => 11 * v + 105 * n + 692,
};
export const SEED = { L4: (v, n) => v * n + n, L5: (v, n) => 3 * (2 * v * n + n) + link(n) + rest(n) };

// ---- transport: matrices are arrays of rows

const ONE = [[1, 0, 0], [0, 1, 0], [0, 0, 1]], STOPS = [0, Math.log10(3), 1]; // log10 of window / 5
const mul = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, v, k) => sum + v * b[k][j], 0)));
const plus = (a, b, f = 1) => a.map((row, i) => row.map((v, j) => v + f * b[i][j]));
const transposed = (a) => a.map((row, i) => row.map((_, j) => a[j][i]));
const hat = ([x, y, z], f) => [[0, -z * f, y * f], [z * f, 0, -x * f], [-y * f, x * f, 0]];
const apply = (a, f) => a.map((row) => dot2(row, f));

export function expm(a) { // of a = hat(v), by Rodrigues' formula
  const t = Math.hypot(a[2][1], a[0][2], a[1][0]);
  return t ? plus(plus(ONE, a, Math.sin(t) / t), mul(a, a), (2 * Math.sin(t / 2) ** 2) / t ** 2) : ONE;
}

// The connection over each piece of the loop 5 -> 15 -> 50 -> 5, for each of its three legs. With three links, each turns
// about an axis of its own. On a line, A(x) dx, the way back takes the same pieces the other way.
export function legs(s) {
  const m = s.pieces, pieces = (f) => Array.from({ length: m }, (_, i) => f(i + 0.5));
  if (s.path === "links") return ONE.map((axis) => pieces(() => hat(axis, s.strength / m)));
  const [out, on] = [0, 1].map((k) => pieces((i) => {
    const dx = (STOPS[k + 1] - STOPS[k]) / m, x = STOPS[k] + i * dx;
    return hat([Math.cos(Math.PI * x), Math.sin(Math.PI * x), 0], 2 * s.strength * dx);
  }));
  return [out, on, [...out, ...on].reverse().map((a) => plus(a, a, -2))];
}

// The change of basis at a place of the loop, 0 to 3: a rotation by the gauge angle, about an axis that goes round.
export function gaugeAt(s, place) {
  const p = (2 * Math.PI * place) / 3, r = Math.SQRT1_2;
  return expm(hat([r * Math.cos(p), r * Math.sin(p), r], (s.gauge * Math.PI) / 180));
}

// All along the loop, in the chosen gauge: the place, and the transport so far, by exp(-A) and by the first-order 1 - A.
export function carry(s) {
  const back = transposed(gaugeAt(s, 0)), seen = [];
  let exact = ONE, first = ONE;
  const put = (place) => {
    const g = gaugeAt(s, place);
    seen.push({ place, g, exact: mul(mul(g, exact), back), first: mul(mul(g, first), back) });
  };
  put(0);
  legs(s).forEach((leg, i) => leg.forEach((a, k) => {
    [exact, first] = [mul(expm(plus(a, a, -2)), exact), mul(plus(ONE, a, -1), first)];
    put(i + (k + 1) / leg.length);
  }));
  return seen;
}

export const trace = (h) => h[0][0] + h[1][1] + h[2][2];
const axial = (h) => [h[2][1] - h[1][2], h[0][2] - h[2][0], h[1][0] - h[0][1]];
export const turnOf = (h) => (Math.atan2(Math.hypot(...axial(h)), trace(h) - 1) * 180) / Math.PI; // degrees

// ---- drawing

const TRAITS = ["part", "row", "words", "places", "order", "terms", "sigma_0", "exponent", "level", "vocabulary", "path",
  "strength", "pieces", "gauge", "turn"];
const PARTS = { cascade: ["Cascade", "of a real row"], ladder: ["Ladder", "size and V"], transport: ["Transport", "5→15→50→5"] };
const ORDERS = { frequency: ["Counted", "by frequency"], common: ["L4’s", "one for all"], own: ["Sorted", "this row’s own"] };
const PATHS = { links: ["Three links", "as learned"], line: ["One line", "A(x) dx"] };
const REPORTED = { L1: 27, L2: 270, L3: 2900, L4: 29000, L5: 290000, L6: 570000 };
const PRINTED = { 1000: 290697, 5000: 7267441, 15000: 65406976 }; // of L5, for three vocabularies
const SLIDERS = {
  cascade: [
    ["terms", null, "N", "Gaussians", 1, 16, 1],
    ["sigma_0", null, "σ₀", "first width", -0.5, 1.8, 0.01, true],
    ["exponent", null, "β", "σₖ = σ₀ kᵝ", -0.5, 1.5],
  ],
  ladder: [["vocabulary", null, "V", "vocabulary", 2, 5.3, 0.01, true], ["terms", null, "N", "terms", 1, 16, 1]],
  transport: [
    ["strength", null, "θ", "connection", 0, 3],
    ["pieces", null, "m", "steps a link", 1, 24, 1],
    ["gauge", null, "γ", "gauge angle", 0, 360, 1],
    ["turn", 0, "↔", "turn", -3.15, 3.15],
    ["turn", 1, "↕", "tilt", -1.6, 1.6],
  ],
};
const NOTES = {
  cascade: "Bars: the row of D, logarithms of counts. Thick: the sum of the Gaussians, thin: each of them. Each is put " +
    "where it takes most of what the others leave; the heights are then fitted together. Gaussian k has the width σ₀ kᵝ. " +
    "Below: the error for other β, at this N and σ₀.",
  ladder: "Logarithmic axes. Grey: the dense matrix. Dashed: the note’s report. Solid: all that our layer needs to be " +
    "rebuilt. Dotted: the note’s own formula.",
  transport: "Blue: carried exactly. Orange: by the printed first-order step. Dashed: as it set out. Thin axes: the basis, " +
    "which γ turns. Drag to turn the view.",
};
const EXPONENTS = Array.from({ length: 13 }, (_, k) => k / 6 - 0.5), THIRD = 5, START = [0.6, 0.64, -0.48];
const heightOf = (W, high) => (W < 420 ? 0.78 * high : high); // a phone shows sliders below the picture, too
const many = (v) => Math.round(v).toLocaleString("en");
const times = (v) => (v < 100 ? num(v, 1) : many(v)) + "\u202f×";

function readable(s, trait, i) {
  const v = i === null ? s[trait] : s[trait][i];
  if (trait === "vocabulary") return many(v);
  if (["terms", "pieces"].includes(trait)) return String(v);
  return trait === "gauge" ? num(v, 0) + "°" : num(v) + (["turn", "strength"].includes(trait) ? " rad" : "");
}

function placesOf(s) {
  if (s.order === "common" && s.places.length === s.row.length) return s.places;
  const order = s.row.map((_, j) => j), places = [];
  if (s.order === "own") order.sort((a, b) => s.row[b] - s.row[a]);
  order.forEach((column, place) => { places[column] = place; });
  return places;
}

function build(tools) {
  const { model, on, later, write, button, slider, arrows, wide } = tools;
  const choice = (trait, names, kind) => {
    const list = Object.entries(names).map(([value, [name, note]]) => {
      const b = button(() => write({ [trait]: value }), name, el("small", {}, note));
      return { b, mark: (s) => press(b, s[trait] === value) };
    });
    return { list, node: group(kind, trait, list) };
  };
  const levels = Object.fromEntries(Object.keys(STORED).map((k) => [k, [k, times(REPORTED[k])]]));
  const part = choice("part", PARTS, "three"), order = choice("order", ORDERS, "three");
  const level = choice("level", levels, "three"), path = choice("path", PATHS, "paths");
  const marks = [part, order, level, path].flatMap((each) => each.list);
  const canvas = el("canvas"), readout = el("p.mw-read"), kind = el("strong"), rest = el("span"), note = el("p.mw-note");
  const own = { cascade: order.node, ladder: level.node, transport: path.node }, boxes = {};
  for (const [name, list] of Object.entries(SLIDERS)) boxes[name] = el("div", {}, own[name], ...list.map(slider));
  const nodes = [
    part.node,
    el("div.mw-grid", {}, el("div.mw-plot", {}, canvas, readout),
      el("div", {}, el("p.mw-say", {}, kind, rest), ...Object.values(boxes))),
    note,
  ];

  const madeOf = keeper(), cosines = keeper();
  let hover = null, strip = [], stripOf = "", columns = null;

  function paint(s, now, quick) {
    for (const { mark } of marks) mark(s);
    for (const [name, box] of Object.entries(boxes)) box.hidden = name !== s.part;
    tell(note, NOTES[s.part]);
    const W = wide(canvas);
    if (!W) return "";
    const texts = { cascade, ladder, transport }[s.part](s, W, quick);
    [kind, rest, readout].forEach((node, i) => tell(node, texts[i]));
    return `${kind.textContent}${rest.textContent} ${readout.textContent}`;
  }

  function cascade(s, W, quick) {
    const places = placesOf(s), n = s.row.length, row = [], at = [], terms = Math.min(s.terms, n);
    places.forEach((place, column) => { [row[place], at[place]] = [s.row[column], column]; });
    const rough = quick && terms > 4, of = (exponent) => {
      const sigma = kpzWidths(s.sigma_0, terms, exponent), mu = pursue(row, sigma, rough);
      return { mu, sigma, ...fit(row, mu, sigma) };
    };
    const key = JSON.stringify(row), shape = key + [terms, s.sigma_0];
    const made = madeOf(shape + s.exponent, rough, () => of(s.exponent));
    if (shape !== stripOf) [strip, stripOf] = [[], shape];
    if (strip.length < EXPONENTS.length && !quick) { // at rest, one a frame
      strip.push(of(EXPONENTS[strip.length]).error);
      later();
    }
    const H = heightOf(W, 400), { g, color, style, path, line, text, dot } = pen(canvas, W, H);
    const left = 34, right = 8, foot = H - 132, w = (W - left - right) / n;
    const low = Math.min(0, ...row, ...made.sum), top = Math.max(1e-9, ...row, ...made.sum) * 1.04;
    const px = (j) => left + (j + 0.5) * w, py = (v) => 6 + (foot - 6) * ((top - v) / (top - low));
    columns = { left, w, n };
    row.forEach((v, j) => {
      g.fillStyle = color(hover && j === Math.floor((hover[0] - left) / w) ? "and" : "fill");
      g.fillRect(left + j * w, py(v), Math.max(w - 0.6, 0.6), py(0) - py(v));
    });
    style("line", 1);
    line(left, py(0), W - right, py(0));
    for (const v of [0, Math.round(top / 2)]) text(num(v, 0), left - 5, py(v), "right");
    text("D", left - 5, 12, "right");
    text(`columns, ${ORDERS[s.order][1].replace("one", "one order")}`, W - right, foot + 13, "right");
    g.save();
    g.beginPath();
    g.rect(left, 0, W - left - right, foot);
    g.clip();
    style("m", 1.6);
    g.beginPath();
    made.g.forEach((bell, k) => bell.forEach((v, j) => g[j ? "lineTo" : "moveTo"](px(j), py(made.amplitudes[k] * v))));
    g.stroke();
    style("l", 3.5);
    path(made.sum.map((v, j) => [px(j), py(v)]));
    g.stroke();
    g.restore();

    const worst = Math.max(...strip, made.error, 1e-9) * 1.1;
    const ex = (b) => left + 12 + ((W - left - right - 24) * (b + 0.5)) / 2;
    const floor = H - 22, ey = (v) => floor - 72 * (v / worst);
    text("error", left - 30, H - 100);
    style("line", 1);
    line(left, floor, W - right, floor);
    style("fg", 1.5);
    path(strip.map((v, k) => [ex(EXPONENTS[k]), ey(v)]));
    g.stroke();
    strip.forEach((v, k) => dot(ex(EXPONENTS[k]), ey(v), k === THIRD ? 4.5 : 3, k === THIRD ? "r" : "fg"));
    [[-0.5, "−½"], [0, "β = 0"], [1 / 3, "⅓"], [2 / 3, "⅔"], [1, "1"], [1.5, "1½"]].forEach(([b, name]) =>
      text(name, ex(b), H - 10, "center"));
    if (s.exponent >= -0.5 && s.exponent <= 1.5) dot(ex(s.exponent), ey(made.error), 5.5, "l");

    const done = strip.length === EXPONENTS.length, best = strip.indexOf(Math.min(...strip));
    const kept = { frequency: "", common: ", and an order for all rows", own: ` and ${n} places` }[s.order];
    const j = hover ? Math.floor((hover[0] - left) / w) : -1;
    return [
      `Error ${num(100 * made.error, 1)}\u202f%`,
      ` with ${terms} Gaussian${terms > 1 ? "s" : ""} (${2 * terms + 1} numbers${kept}). As many cosine terms, the ` +
        `largest: ${num(100 * cosines(key, false, () => dctErrors(row))[terms], 1)}\u202f%. ` + (done ? `At β = ⅓: ${num(100 * strip[THIRD], 1)}\u202f%; ` +
        `least at β = ${num(EXPONENTS[best])}: ${num(100 * strip[best], 1)}\u202f%.` : ""),
      row[j] === undefined ? "Point at a column, or use the arrow keys on the picture, to read it." : `Column ${at[j] + 1}` +
        (s.words[at[j]] ? `, “${s.words[at[j]]}”` : "") + `: D = ${num(row[j])}, cascade ${num(made.sum[j])}.`,
    ];
  }

  function ladder(s, W) {
    const H = heightOf(W, 360), { g, style, path, line, text, dot } = pen(canvas, W, H), left = 44, right = 10, foot = H - 30;
    const px = (v) => left + ((Math.log10(v) - 2) / 3.3) * (W - left - right);
    const py = (v) => foot - (Math.log10(v) / 10.6) * (foot - 30), ends = Array.from({ length: 34 }, (_, k) => 10 ** (2 + k / 10));
    const curve = (f, ...stroke) => {
      style(...stroke);
      path(ends.map((v) => [px(v), py(Math.max(f(v), 1))]));
      g.stroke();
    };
    for (const p of [0, 2, 4, 6, 8, 10]) {
      style("line", 1);
      line(left, py(10 ** p), W - right, py(10 ** p));
      text("10" + ["⁰", "²", "⁴", "⁶", "⁸", "¹⁰"][p / 2], left - 5, py(10 ** p), "right");
    }
    for (const v of [100, 1000, 1e4, 1e5]) text(many(v), px(v), foot + 14, v > 100 ? "center" : "left");
    text("numbers kept, against V", left, 10);
    const N = s.terms, V = Math.round(s.vocabulary), stored = STORED[s.level], seed = SEED[s.level], ratio = REPORTED[s.level];
    for (const [k, f] of Object.entries(STORED)) if (k !== s.level) curve((v) => f(v, N), "dim", 1.2);
    curve((v) => v * v, "dim", 1.5);
    curve((v) => (v * v) / ratio, "r", 2, [7, 5]);
    if (seed) curve((v) => seed(v, N), "and", 2.5, [2, 3]);
    curve((v) => stored(v, N), "l", 3);
    if (s.level === "L5") for (const [v, r] of Object.entries(PRINTED)) dot(px(v), py((v * v) / r), 4.5, "r");
    const counted = stored(V, N);
    style("fg", 1, [3, 3]);
    line(px(V), 26, px(V), foot);
    dot(px(V), py(counted), 5.5, "l");
    dot(px(V), py(Math.max((V * V) / ratio, 1)), 5.5, "r");
    return [
      `${s.level}: ${times((V * V) / counted)} counted`,
      `, ${times(ratio)} reported. At V = ${many(V)}, N = ${N} the layer keeps ${many(counted)} of ${many(V * V)} numbers; ` +
        `the report leaves it ${(V * V) / ratio < 100 ? num((V * V) / ratio) : many((V * V) / ratio)}.` +
        (seed ? ` The note’s own formula gives ${many(seed(V, N))}, ${times((V * V) / seed(V, N))}.` : ""),
      s.level === "L5" ? "Single dots: the note’s printed ratios of L5. Each is V² by 3.44." :
        "Faint: the other rungs, as counted.",
    ];
  }

  function transport(s, W, quick) {
    const H = clamp(0.86 * W, 290, 430), { g, color, style, path, line, text, dot } = pen(canvas, W, H);
    const R = Math.min(0.17 * W, 72), f = apply(gaugeAt(s, 0), START), seen = carry(s), last = seen.at(-1);
    const corner = [[R + 8, H - R - 24], [W / 2, R + 8], [W - R - 8, H - R - 24], [R + 8, H - R - 24]];
    const spot = (place) => {
      const i = Math.min(Math.floor(place), 2), p = place - i;
      return corner[i].map((v, k) => v + p * (corner[i + 1][k] - v));
    };
    const arrow = (place, v, size, c, width, dash = []) => {
      const [x, y] = spot(place), [a, b] = turned(v, s.turn), X = x + size * a, Y = y - size * b;
      const along = Math.hypot(a, b) || 1, ux = a / along, uy = -b / along, h = 2.5 + 2.2 * width;
      style(c, width, dash);
      line(x, y, X, Y);
      style(c, 1);
      path([[X, Y], [X - h * ux - 0.5 * h * uy, Y - h * uy + 0.5 * h * ux], [X - h * ux + 0.5 * h * uy, Y - h * uy - 0.5 * h * ux]]);
      g.fillStyle = color(c);
      g.fill();
    };
    style("line", 1.5);
    path(corner);
    g.stroke();
    const skip = Math.ceil((seen.length - 1) / (quick ? 18 : 36));
    seen.forEach(({ place, g: basis, exact, first }, k) => {
      const stop = Number.isInteger(place), [x, y] = spot(place);
      if (!stop && k % skip) return;
      if (stop && place < 3) {
        g.beginPath();
        g.arc(x, y, R, 0, 7);
        g.fillStyle = color("soft");
        g.fill();
        style("line", 1.5);
        g.stroke();
        for (const axis of transposed(basis)) {
          const [a, b] = turned(axis, s.turn);
          style("dim", 1);
          line(x, y, x + 0.92 * R * a, y - 0.92 * R * b);
        }
        text(`window ${[5, 15, 50][place]}`, x, y + R + 12, "center", "fg");
      }
      if (!place) return;
      const size = stop ? 0.92 * R : 0.4 * R;
      arrow(place, apply(first, f), size, "r", stop ? 2.5 : 1.2);
      arrow(place, apply(exact, f), size, "l", stop ? 3 : 1.6);
    });
    arrow(0, f, 0.92 * R, "fg", 2, [4, 3]);
    const gap = plus(last.first, last.exact, -1), axis = axial(last.exact), size = Math.hypot(...axis);
    return [
      `Holonomy ${num(turnOf(last.exact), 1)}°`,
      `, trace ${num(trace(last.exact), 3)}, whatever the gauge. ` + (size > 1e-9
        ? `The axis of the turn, in this gauge: ${axis.map((v) => num(v / size)).join(", ")}. `
        : "What goes out and comes back the same way comes back unturned. ") +
        `First order, ${s.pieces} step${s.pieces > 1 ? "s" : ""} a link: the arrow comes back ` +
        `${num(Math.hypot(...apply(last.first, f)), 2)} times as long, |H₁ − H| = ${num(Math.hypot(...gap.flat()), 3)}.`,
      "A step errs with its square: twice the steps, about half the error.",
    ];
  }

  const point = (e) => {
    hover = [e.offsetX, e.offsetY];
    later();
  };
  on(canvas, "pointerdown", point);
  on(canvas, "pointermove", point);
  on(canvas, "pointerleave", (e) => { if (e.pointerType === "mouse") { hover = null; later(); } });
  arrows(canvas, (d) => {
    const { left, w, n } = columns ?? { left: 0, w: 1, n: 1 }, j = hover ? Math.floor((hover[0] - left) / w) : -1;
    hover = d && [left + (clamp(j + d[0], 0, n - 1) + 0.5) * w, 0];
  });
  turnable(tools, canvas, () => model.get("part") === "transport");
  const valid = Object.fromEntries(Object.entries({ part: PARTS, order: ORDERS, level: STORED, path: PATHS })
    .map(([trait, names]) => [trait, (v) => Object.keys(names).includes(v)]));
  return { nodes, canvas, paint, title: "Cascade, ladder and transport", valid };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
