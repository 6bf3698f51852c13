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
  published: (alpha) => ({ levels: 1, base: () => 0, step: (v, [, m, r]) => alpha * m + r }),
  multilevel: (alpha) => ({ base: () => 0, step: (v, [, m, r]) => (v + r + alpha * m) / 2 }),
  halting: (alpha) => ({
    base: () => 0, step: (v, [l, m, r]) => alpha * (m + r) + (alpha * l + (1 - alpha) * r) * v,
  }),
  convergent: (alpha, tau) => {
    const join = ([l, m, r], left, right) => alpha * (l * left + m + r) + (1 - alpha) * r * right;
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
    const d = thirdOf(z);
    return step(climb(3 * z - d, k - 1), triadic(z, s.tau), d, k - 1);
  };
  return (x) => climb(x, levels);
}

// The staircase at (i + 1/2) / n for n = 3^m > 3^levels. A third of this grid is the same grid with n / 3 points, so
// all levels together cost 3 / 2 of the first.
export function onGrid(s, n) {
  const { levels, base, step } = ruleOf(s);
  const climb = (n, k) => {
    const c = new Float64Array(n), below = k && climb(n / 3, k - 1);
    for (let i = 0; i < n; i++) {
      const z = (i + 0.5) / n, d = thirdOf(z);
      c[i] = k ? step(below[i - (d * n) / 3], triadic(z, s.tau), d, k - 1) : base(z);
    }
    return c;
  };
  return climb(n, levels);
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

const EXACT = {}; // Cantor's function on the grids of `figures`

// Over all of [0, 1], with three points in the finest third: arc length, range, and the distance to the exact function
// whose middle step is `exact`.
export function figures(s, exact = 0.5) {
  const n = 3 ** Math.max(7, s.levels + 1), c = onGrid(s, n), f = staircase(s);
  const goal = (exact === 0.5 && EXACT[n]) || c.map((_, i) => cantorFunction((i + 0.5) / n, exact));
  if (exact === 0.5) EXACT[n] = goal;
  let length = Math.hypot(0.5 / n, c[0] - f(0)) + Math.hypot(0.5 / n, f(1) - c[n - 1]), sum = 0, worst = 0, at = 0;
  c.forEach((v, i) => {
    const error = Math.abs(v - goal[i]);
    if (i) length += Math.hypot(1 / n, v - c[i - 1]);
    sum += error;
    if (error > worst) [worst, at] = [error, (i + 0.5) / n];
  });
  const low = c.reduce((a, b) => Math.min(a, b)), high = c.reduce((a, b) => Math.max(a, b));
  return { length, mean: sum / n, worst, at, low, high };
}

// ---- drawing

const N = 1201, DIGITS = 12, DEEPEST = 9, GLIDE = 350; // points of a curve, digits shown, digits of a zoom, ms
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

function build({ model, on, later, write, button, slider }) {
  // -- elements
  const zoomTo = (zoom) => { // the marker keeps its place in the window
    const [x, w] = zoomWindow(model.get("zoom")), [x1, w1] = zoomWindow(zoom);
    write({ zoom, x: x1 + clamp((model.get("x") - x) / w, 0, 1) * w1 });
  };
  const row = (kind, ariaLabel, list) => el("div.mw-" + kind, { role: "group", ariaLabel }, ...list);
  const presets = (model.get("presets") || []).map(({ name, note, state }) =>
    ({ b: button(() => write(state), name, el("small", {}, note)), state }));
  const forms = Object.keys(FORMS).map((form) =>
    ({ b: button(() => write({ form }), NAMES[form], el("small", {}, SOURCES[form])), form }));
  const thirds = ["Left", "Middle", "Right"].map((name, d) =>
    button(() => zoomTo(model.get("zoom") + d), name, el("small", {}, "digit " + d)));
  const back = button(() => zoomTo(model.get("zoom").slice(0, -1)), "Back"), where = el("span");
  const canvas = el("canvas"), soft = el("canvas", { ariaHidden: "true" });
  const readout = el("p.mw-read"), kind = el("strong"), rest = el("span");
  const marker = slider(["x", null, "x", "marker", 0, 1]), thumb = marker.children[1];
  const nodes = [
    row("row", "Presets", presets.map((p) => p.b)),
    el("div.mw-grid", {},
      el("div.mw-plot", {},
        el("div.mw-window", {}, where, back), canvas, row("thirds", "Zoom into a third", thirds), soft, readout),
      el("div", {},
        el("p.mw-say", {}, kind, rest), row("row", "Form", forms.map((f) => f.b)), ...MAIN.map(slider), marker)),
    el("p.mw-note", {}, "Thin line: Cantor's function. Thick line: the staircase. Bars: the soft digits of the " +
      "marked x, one bar per level; its parts say how much of x lies left, in the middle, right. The numbers in the " +
      "box are over all of [0, 1], whatever the window shows."),
  ];

  // -- picture
  let view = null, from = null, since = 0, goal = "", drag = false, box = null; // the window, and the pointer
  let exact = [], exactOf = "", made = null, madeOf = ""; // what need not be computed again

  function glide(zoom, now) { // the window, on its way to where it should be
    const to = zoomWindow(zoom);
    if (!view || matchMedia("(prefers-reduced-motion: reduce)").matches) [goal, view, from] = [zoom, to, null];
    if (goal !== zoom) [goal, from, since] = [zoom, view, now];
    if (from) {
      const p = clamp((now - since) / GLIDE, 0, 1), e = p * p * (3 - 2 * p);
      view = p < 1 ? to.map((v, i) => from[i] + e * (v - from[i])) : to;
      if (p < 1) later();
      else from = null;
    }
    return view;
  }

  function paint(s, now) {
    const [x0, w] = zoomWindow(s.zoom), key = JSON.stringify([s.alpha, s.tau, s.levels, s.form]);
    for (const { b, state } of presets)
      b.setAttribute("aria-pressed", Object.keys(state).every((k) => s[k] === state[k]));
    for (const { b, form } of forms) b.setAttribute("aria-pressed", form === s.form);
    for (const b of thirds) b.disabled = s.zoom.length >= DEEPEST;
    back.disabled = !s.zoom;
    Object.assign(thumb, { min: x0, max: x0 + w, step: w / 270 });
    thumb.value = s.x;
    const times = s.zoom.length, how = `x \u00d7\u202f${3 ** times}, c \u00d7\u202f${2 ** times}`;
    where.textContent = times ? `x = 0.${s.zoom}\u2026 in base 3 (${how})` : "The whole staircase";
    const W = canvas.clientWidth;
    if (!W) return "";
    const limit = ["halting", "convergent"].includes(s.form) && s.alpha > 0 && s.alpha < 1 && s.alpha !== 0.5;
    if (key !== madeOf) [made, madeOf] = [{ ...figures(s), own: limit && figures(s, s.alpha) }, key];
    const { length, low, high, mean, worst, at, own } = made;
    kind.textContent = NAMES[s.form];
    rest.textContent = `: arc length ${num(length)} (Cantor's: 2), values ${num(low)} to ${num(high)}. Error to ` +
      `Cantor's function: mean ${small(mean)}, largest ${num(worst, 3)} near x = ${num(at, 3)}.` + (limit ? " To the " +
      `exact staircase whose middle step is α (dotted): mean ${small(own.mean)}, largest ${num(own.worst, 3)}.` : "");
    draw(s, limit, glide(s.zoom, now), W);
    softDigits(s);
    return kind.textContent + rest.textContent + " " + readout.textContent;
  }

  function draw(s, limit, [x0, w, y0, h], W) {
    const left = 52, right = 8, head = 8, high = clamp(0.58 * W, 170, 330), span = W - left - right;
    const f = staircase(s);
    const X = Array.from({ length: N }, (_, i) => Math.min(x0 + (i * w) / (N - 1), 1)), C = X.map(f);
    const low = clamp(Math.min(...C) - 0.02 * h, y0 - 0.5 * h, y0 - 0.06 * h);
    const top = clamp(Math.max(...C) + 0.02 * h, y0 + 1.06 * h, y0 + 1.5 * h);
    const { g, color, style, path, line, text, dot } = pen(canvas, W, head + high + 20);
    const px = (x) => left + ((x - x0) / w) * span, py = (c) => head + ((top - c) / (top - low)) * high;
    box = (p) => clamp(x0 + ((p - left) / span) * w, x0, Math.min(x0 + w, 1));
    if (exactOf !== x0 + "/" + w) [exact, exactOf] = [X.map((x) => cantorFunction(x)), x0 + "/" + w];

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
      path(X.map((x, i) => [px(x), py(v[i])]));
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
    readout.replaceChildren(`x = ${num(s.x, 6)} = 0.`, el("b", {}, read), digits.slice(count).join("") +
      `\u2026 in base 3. Up to the first 1, each 2 a 1: 0.${halved} in base 2 = ${num(own, 4)}. ` +
      `Staircase ${num(c, 4)}, error ${num(c - own, 4)}.`);
  }

  function softDigits(s) {
    const left = 52, bar = 10, W = soft.clientWidth, total = W - left - 8, { levels } = ruleOf(s);
    const { g, color, text } = pen(soft, W, levels * (bar + 2) + 6);
    let z = s.x;
    for (let k = 0; k < levels; k++) {
      let x = left;
      const y = 4 + k * (bar + 2), d = thirdOf(z);
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
  return { nodes, canvas, paint, title: "Staircase over Cantor's function" };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
