// Chapter 2's widget. First the mathematics, pure and with the names of mobius_lib.cantor.math; then the drawing.

const thirdOf = (z) => clamp(Math.floor(3 * z), 0, 2); // the digit of z; 1 is 0.222... in base 3

export function digitsOf(x, count) {
  return Array.from({ length: count }, () => {
    const d = thirdOf(x);
    x = 3 * x - d;
    return d;
  });
}

export function cantorFunction(x, alpha = 0.5, digits = 40) {
  let c = 0, weight = 1;
  for (let k = 0; k < digits && weight > 0; k++) {
    const d = thirdOf(x);
    if (d > 0) c += weight * alpha;
    weight *= d === 0 ? alpha : d === 2 ? 1 - alpha : 0; // after a 1, nothing more counts
    x = 3 * x - d;
  }
  return c + weight * x;
}

// A form is what stands below the last level, and a step from there to the first: the value at z from the value v at
// its child position, the thirds p and the digit d of z, with k levels below.
export const FORMS = {
  published: (alpha) => ({ levels: 1, base: () => 0, step: (v, p) => alpha * p[1] + p[2] }),
  multilevel: (alpha) => ({ base: () => 0, step: (v, p) => (v + p[2] + alpha * p[1]) / 2 }),
  halting: (alpha) => ({
    base: () => 0, step: (v, p) => alpha * (p[1] + p[2]) + (alpha * p[0] + (1 - alpha) * p[2]) * v,
  }),
  convergent: (alpha, tau) => {
    const join = (p, left, right) => alpha * (p[0] * left + p[1] + p[2]) + (1 - alpha) * p[2] * right;
    const p0 = triadic(0, tau), p1 = triadic(1, tau), ends = [[0, 1]]; // C(0) and C(1) above k levels
    for (let k = 0; k < 40; k++) ends.push([join(p0, ends[k][0], ends[k][0]), join(p1, ends[k][1], ends[k][1])]);
    return { base: (z) => z, step: (v, p, d, k) => join(p, d ? ends[k][1] : v, d < 2 ? ends[k][0] : v) };
  },
};

const ruleOf = (s) => ({ levels: s.levels, ...FORMS[s.form](s.alpha, s.tau) });

export function staircase(s) { // s: alpha, tau, levels, form
  const { levels, base, step } = ruleOf(s);
  const climb = (z, k) => {
    if (!k) return base(z);
    const d = thirdOf(z), v = climb(3 * z - d, k - 1);
    return step(v, thirds(z, s.tau), d, k - 1);
  };
  return (x) => climb(x, levels);
}

// The staircase at (i + side) / 3^m, m at least the levels: in the middle of each 3^-m for side 1/2; for 0 and 1 just
// after and just before each boundary, where it may jump. A third of such a grid is such a grid with m - 1, so all levels
// together cost 3 / 2 of the first.
export function onGrid(s, m, side = 0.5) {
  const { levels, base, step } = ruleOf(s);
  const climb = (m, k) => {
    const n = 3 ** m, c = new Float64Array(n);
    if (!k) return c.map((_, i) => base((i + side) / n));
    const below = climb(m - 1, k - 1), third = n / 3;
    for (let d = 0, i = 0; d < 3; d++)
      for (let j = 0; j < third; j++, i++) c[i] = step(below[j], thirds((i + side) / n, s.tau), d, k - 1);
    return c;
  };
  return climb(m, levels);
}

const exactOnGrid = (alpha, m, side) => { // Cantor's function there, by the recursion that it is
  let c = [side === 0.5 ? alpha : side];
  for (let k = 0; k < m; k++) {
    const n = c.length, next = new Float64Array(3 * n).fill(alpha, n, 2 * n);
    for (let i = 0; i < n; i++) [next[i], next[i + 2 * n]] = [alpha * c[i], alpha + (1 - alpha) * c[i]];
    c = next;
  }
  return c;
};

// The ends of plateaus beside 0, 1/3, 2/3 and 1, from 3^-(depth + 1) on: the rest of the library's `error_points`.
export function nearPoints(depth) {
  const found = [];
  for (let m = depth + 1; m < depth + 13; m++) for (let i = 1; i < 27; i++) if (i % 3) for (let j = 0; j < 3; j++)
    found.push(j / 3 + i * 3 ** -m, (j + 1) / 3 - i * 3 ** -m);
  return Float64Array.from(found);
}

// The window of a zoom, [x, width, c, height]: one third of x per digit, and the half of c that Cantor's function takes
// there. In a middle third it is flat; the window is then centred on it.
export function zoomWindow(zoom) {
  let x = 0, w = 1, y = 0, h = 1, flat = false;
  for (const d of zoom) {
    w /= 3;
    h /= 2;
    x += d * w;
    flat ||= d === "1";
    y += flat ? h / 2 : d === "2" ? h : 0;
  }
  return [x, w, y, h];
}

// Over all of [0, 1], with both sides of every jump: arc length, range, and the distance to each of the exact functions
// with a middle step of `exacts`, by the library's `error_points`.
export function figures(s, exacts = [0.5]) {
  const m = Math.max(7, s.levels + 1), depth = Math.max(6, s.levels), f = staircase(s), at = near[depth] ??= nearPoints(depth);
  const mid = onGrid(s, m), after = onGrid(s, depth, 0), before = onGrid(s, depth, 1);
  const n = mid.length, inside = n / after.length, all = [mid, after, before, at.map(f)];
  let length = 0, low = Infinity, high = -Infinity;
  for (const c of all) for (let i = 0; i < c.length; i++) {
    low = Math.min(low, c[i]);
    high = Math.max(high, c[i]);
  }
  for (let i = 0; i < after.length; i++) { // across a jump the line goes straight up or down
    let last = after[i], dx = 0.5 / n;
    if (i) length += Math.abs(last - before[i - 1]);
    for (let j = i * inside; j < (i + 1) * inside; j++, dx = 1 / n) {
      length += Math.sqrt(dx * dx + (mid[j] - last) ** 2);
      last = mid[j];
    }
    length += Math.hypot(0.5 / n, before[i] - last);
  }
  const distances = exacts.map((alpha) => {
    const goals = goalsOf(alpha, m, depth, at);
    let sum = 0, worst = 0, where = 0;
    all.forEach((c, k) => {
      const goal = goals[k];
      for (let i = 0; i < c.length; i++) {
        const error = Math.abs(c[i] - goal[i]);
        if (!k) sum += error;
        if (error > worst) [worst, where] = [error, k < 3 ? (i + [0.5, 0, 1][k]) / c.length : at[i]];
      }
    });
    return { mean: sum / n, worst, at: where };
  });
  return { length, low, high, distances };
}

const near = {}; // by depth
let kept = {}; // Cantor's own values, of one depth and few alphas
function goalsOf(alpha, m, depth, at) {
  const key = `${alpha} ${m} ${depth}`;
  if (!kept[key]) {
    if (Object.keys(kept).length > 4) kept = {};
    kept[key] = [exactOnGrid(alpha, m, 0.5), exactOnGrid(alpha, depth, 0), exactOnGrid(alpha, depth, 1),
      at.map((x) => cantorFunction(x, alpha))];
  }
  return kept[key];
}

// ---- drawing

// Where a window is drawn: on both sides of the boundaries of some levels, and at three points between
const places = (levels) => Array.from({ length: 3 ** levels }, (_, i) =>
  [1e-6, 1 / 4, 1 / 2, 3 / 4, 1 - 1e-6].map((p) => (i + p) / 3 ** levels)).flat();
const PLACES = places(5), FEWER = places(4); // of a slider on its way

const DIGITS = 12, DEEPEST = 9, GLIDE = 350; // digits shown, digits of a zoom, ms
const NAMES = { published: "One level", multilevel: "Many levels", halting: "Halting", convergent: "Convergent" };
const SOURCES = { published: "published", multilevel: "published", halting: "ours", convergent: "ours" };
const MAIN = [
  ["alpha", null, "α", "middle third", -0.5, 1.5],
  ["tau", null, "τ", "temperature", -4, 0, 0.01, true],
  ["levels", null, "n", "levels", 1, 8, 1],
];
const TRAITS = ["alpha", "tau", "levels", "form", "zoom", "x"];

const small = (v) => (Math.abs(v) < 1e-4 ? v.toExponential(0).replace("-", "\u2212") : num(v, 4));

function readable(state, trait) {
  const v = state[trait];
  if (trait === "levels") return state.form === "published" ? "unused" : String(v);
  return trait === "tau" ? String(+v.toPrecision(3)) : num(v, trait === "x" ? 6 : 3);
}

function build({ model, on, later, write, button, slider, wide, setting }) {
  // -- elements
  const zoomTo = (zoom) => { // the marker keeps its place in the window
    const [x, w] = zoomWindow(model.get("zoom")), [x1, w1] = zoomWindow(zoom);
    write({ zoom, x: x1 + clamp((model.get("x") - x) / w, 0, 1) * w1 });
  };
  const presets = model.get("presets").map((p) => setting({ ...p, state: { ...p.state, zoom: "" } })); // the whole of it
  const forms = Object.keys(FORMS).map((form) =>
    ({ b: button(() => write({ form }), NAMES[form], el("small", {}, SOURCES[form])), form }));
  const thirds = ["Left", "Middle", "Right"].map((name, d) =>
    button(() => zoomTo(model.get("zoom") + d), name, el("small", {}, "digit " + d)));
  const back = button(() => zoomTo(model.get("zoom").slice(0, -1)), "Back"), where = el("span");
  const canvas = el("canvas"), soft = el("canvas", { ariaHidden: "true" });
  const said = [el("span"), el("b"), el("span")], readout = el("p.mw-read", {}, ...said);
  const kind = el("strong"), rest = el("span");
  const sliders = MAIN.map(slider), marker = slider(["x", null, "x", "marker", 0, 1]), thumb = marker.children[1];
  const nodes = [
    group("row", "Presets", presets),
    el("div.mw-grid", {},
      el("div.mw-plot", {},
        el("div.mw-window", {}, where, back), canvas, group("thirds", "Zoom into a third", thirds)),
      el("div.mw-below", {}, soft, readout),
      el("div", {},
        el("p.mw-say", {}, kind, rest), group("row", "Form", forms), ...sliders, marker)),
    el("p.mw-note", {}, "Thin line: Cantor's function. Thick line: the staircase. Bars: the soft digits of the " +
      "marked x, one bar per level. The numbers in the " +
      "box are over all of [0, 1], whatever the window shows."),
  ];

  // -- picture
  let view = null, from = null, since = 0, goal = "", drag = false, box = null; // the window, and the pointer
  const exactOf = keeper(), figuresOf = keeper(), thumbOf = keeper(), softOf = keeper();
  let made = null;

  function glide(zoom, now) { // the window, on its way to where it should be
    const to = zoomWindow(zoom);
    if (!view || (goal !== zoom && matchMedia("(prefers-reduced-motion: reduce)").matches)) [goal, view, from] = [zoom, to, null];
    if (goal !== zoom) [goal, from, since] = [zoom, view, now];
    if (from) {
      const p = clamp((now - since) / GLIDE, 0, 1), e = p * p * (3 - 2 * p);
      view = p < 1 ? to.map((v, i) => from[i] + e * (v - from[i])) : to;
      if (p < 1) later();
      else from = null;
    }
    return view;
  }

  function paint(s, now, quick) {
    const key = JSON.stringify([s.alpha, s.tau, s.levels, s.form]), W = wide(canvas);
    const times = s.zoom.length, how = `x \u00d7\u202f${3 ** times}, c \u00d7\u202f${2 ** times}`;
    const shown = times ? `x = 0.${s.zoom}\u2026 in base 3 (${how})` : "The whole staircase";
    if (!W) return "";
    update(sliders[2].children[1], "disabled", s.form === "published"); // one level has no use for n
    const limit = ["halting", "convergent"].includes(s.form) && s.alpha > 0 && s.alpha < 1 && s.alpha !== 0.5;
    // With many levels they take tens of thousands of points, so they wait until the slider rests.
    if (!made || !quick || s.levels < 7) made = figuresOf(key, false, () => figures(s, limit ? [0.5, s.alpha] : [0.5]));
    const { length, low, high, distances: [{ mean, worst, at }, own = made.distances[0]] } = made;
    draw(s, limit, glide(s.zoom, now), W, quick ? FEWER : PLACES);
    softOf([s.x, s.tau, ruleOf(s).levels, wide(soft), finer, shade] + "", false, () => softDigits(s, wide(soft)));
    for (const { b, state } of presets) press(b, shows(s, state));
    for (const { b, form } of forms) press(b, form === s.form);
    for (const b of thirds) update(b, "disabled", s.zoom.length >= DEEPEST);
    update(back, "disabled", !s.zoom);
    thumbOf(s.zoom + "/" + s.x, false, () => {
      const [min, w] = zoomWindow(s.zoom);
      Object.assign(thumb, { min, max: min + w, step: w / 540, value: s.x });
    });
    tell(where, shown);
    tell(kind, NAMES[s.form]);
    tell(rest, `: arc length ${num(length)} (Cantor's: 2), values ${num(low)} to ${num(high)}. Error to ` +
      `Cantor's function: mean ${small(mean)}, largest ${small(worst)} near x = ${num(at, 3)}.` + (limit ? " To the " +
      `exact staircase whose middle step is α (dotted): mean ${small(own.mean)}, largest ${small(own.worst)}.` : ""));
    return kind.textContent + rest.textContent + " " + readout.textContent;
  }

  function draw(s, limit, [x0, w, y0, h], W, at) {
    const left = 52, right = 8, head = 8, high = clamp(0.58 * W, 170, 330), span = W - left - right;
    const f = staircase(s);
    const X = at.map((p) => Math.min(Math.max(x0 + p * w, 0), 1)), C = X.map(f);
    const low = clamp(Math.min(...C) - 0.02 * h, y0 - 0.5 * h, y0 - 0.06 * h);
    const top = clamp(Math.max(...C) + 0.02 * h, y0 + 1.06 * h, y0 + 1.5 * h);
    const { g, color, style, line, text, dot } = pen(canvas, W, head + high + 20);
    const px = (x) => left + ((x - x0) / w) * span, py = (c) => head + ((top - c) / (top - low)) * high;
    box = (p) => clamp(x0 + ((p - left) / span) * w, x0, Math.min(x0 + w, 1));
    const exact = exactOf([x0, w, at.length] + "", false, () => X.map((x) => cantorFunction(x)));

    g.fillStyle = color("soft");
    g.fillRect(left + span / 3, head, span / 3, high);
    style("line", 1);
    for (const p of [0, 0.5, 1]) {
      line(left, py(y0 + p * h), W - right, py(y0 + p * h));
      text(num(y0 + p * h, Math.min(1 + s.zoom.length, 5)), left - 5, py(y0 + p * h), "right");
    }
    for (const [i, align] of ["left", "center", "center", "right"].entries())
      text(num(x0 + (i * w) / 3, Math.min(2 + s.zoom.length, 6)), left + (i * span) / 3, head + high + 12, align);

    g.save();
    g.beginPath();
    g.rect(left, head, span, high);
    g.clip();
    const curve = (v, ...stroke) => {
      style(...stroke);
      g.beginPath();
      for (let i = 0; i < X.length; i++) g.lineTo(px(X[i]), py(v[i]));
      g.stroke();
    };
    curve(C, "l", 3);
    curve(exact, "fg", 1.2);
    if (limit) curve(X.map((x) => cantorFunction(x, s.alpha)), "and", 1.5, [2, 3]);
    const c = f(s.x), own = cantorFunction(s.x);
    style("r", 1.5, [4, 3]);
    line(px(s.x), head, px(s.x), head + high);
    dot(px(s.x), py(c), 5.5, "l");
    dot(px(s.x), py(own), 3.5, "fg");
    g.restore();

    const digits = digitsOf(s.x, DIGITS), first = digits.indexOf(1), count = first < 0 ? DIGITS : first + 1;
    const read = digits.slice(0, count).join("");
    const halved = read.replaceAll("2", "1") + (first < 0 ? "\u2026" : "");
    const words = [`x = ${num(s.x, 6)} = 0.`, read, digits.slice(count).join("") +
      `\u2026 in base 3. Up to the first 1, each 2 a 1: 0.${halved} in base 2 = ${num(own, 4)}. ` +
      `Staircase ${num(c, 4)}, error ${num(c - own, 4)}.`];
    words.forEach((part, i) => tell(said[i], part));
  }

  function softDigits(s, W) {
    const left = 52, bar = 10, total = W - left - 8, { levels } = ruleOf(s);
    const { g, color, text } = pen(soft, W, levels * (bar + 2) + 26);
    ["left", "middle", "right"].reduce((x, name, i) => {
      g.fillStyle = color(["l", "fill", "r"][i]);
      g.fillRect(x, 6, 14, bar);
      text(name, x + 19, 11);
      return x + g.measureText(name).width + 34;
    }, left);
    let z = s.x;
    for (let k = 0; k < levels; k++) {
      let x = left;
      const y = 24 + k * (bar + 2), d = thirdOf(z);
      text(k ? k + 1 : "n = 1", left - 5, y + bar / 2, "right");
      for (const [i, p] of triadic(z, s.tau).entries()) {
        g.fillStyle = color(["l", "fill", "r"][i]);
        g.fillRect(x, y, p * total, bar);
        x += p * total;
      }
      z = 3 * z - d;
    }
  }

  // -- events
  const setX = (e) => write({ x: box(e.offsetX) });
  on(canvas, "pointerdown", (e) => {
    if (!box || e.button) return;
    drag = true;
    canvas.setPointerCapture(e.pointerId);
    setX(e);
  });
  on(canvas, "pointermove", (e) => { if (drag) setX(e); });
  for (const end of ["pointerup", "pointercancel"]) on(canvas, end, () => { drag = false; });
  on(canvas, "dblclick", (e) => {
    const zoom = model.get("zoom"), [x, w] = zoomWindow(zoom);
    if (zoom.length < DEEPEST) zoomTo(zoom + clamp(Math.floor((3 * (box(e.offsetX) - x)) / w), 0, 2));
  });
  const valid = {
    form: (v) => Object.keys(FORMS).includes(v),
    zoom: (v) => v.length <= DEEPEST && [...v].every((d) => "012".includes(d)),
  };
  return { nodes, canvas, paint, title: "Staircase over Cantor's function", valid };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
