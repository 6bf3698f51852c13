// Chapter 5's widget. First the mathematics, pure and with the names of mobius_lib.twistor.math; then the drawing.
// A complex number is [re, im], a map is [a, b, c, d], a point is [omega, pi] with z = omega / pi.

const add = (p, q, f = 1) => [p[0] + f * q[0], p[1] + f * q[1]];
const mul = (p, q) => [p[0] * q[0] - p[1] * q[1], p[0] * q[1] + p[1] * q[0]];
const conj = (p) => [p[0], -p[1]], scale = (p, f) => [p[0] * f, p[1] * f], abs2 = (p) => p[0] * p[0] + p[1] * p[1];
const abs = (p) => Math.sqrt(abs2(p)), div = (p, q) => scale(mul(p, conj(q)), 1 / abs2(q)), I = [1, 0], O = [0, 0];

export function sqrt([x, y]) { // with a real part that is not negative
  const r = Math.hypot(x, y), u = Math.sqrt((r + Math.abs(x)) / 2), v = u ? Math.abs(y) / (2 * u) : 0;
  return x < 0 ? [v, y < 0 ? -u : u] : [u, y < 0 ? -v : v];
}

export const det = ([a, b, c, d]) => add(mul(a, d), mul(b, c), -1);
export const trace = (m) => add(m[0], m[3]);

// The same map with determinant 1, and of its two matrices the one whose trace has no negative real part.
export function normalised(m) {
  const r = sqrt(det(m)), n = m.map((z) => div(z, r)), [x, y] = trace(n);
  return x < 0 || (x === 0 && y < 0) ? n.map((z) => scale(z, -1)) : n;
}

export const compose = ([a, b, c, d], [p, q, r, s]) =>
  [add(mul(a, p), mul(b, r)), add(mul(a, q), mul(b, s)), add(mul(c, p), mul(d, r)), add(mul(c, q), mul(d, s))];
export const inverse = ([a, b, c, d]) => [d, scale(b, -1), scale(c, -1), a];
export const move = ([a, b, c, d], [w, p]) => [add(mul(a, w), mul(b, p)), add(mul(c, w), mul(d, p))];
export const affine = ([w, p]) => (abs2(p) ? div(w, p) : [Infinity, 0]);

export function sphere([w, p]) { // 0 below, infinity above
  const [x, y] = mul(w, conj(p)), up = abs2(w), down = abs2(p), all = up + down;
  return [(2 * x) / all, (2 * y) / all, (up - down) / all];
}

export function eigenvalues(m) { // of determinant 1; the larger one first
  const half = scale(trace(m), 0.5), h = scale(add(m[0], m[3], -1), 0.5), r = sqrt(add(mul(h, h), mul(m[1], m[2])));
  const large = add(half, r, half[0] * r[0] + half[1] * r[1] < 0 ? -1 : 1);
  return [large, div(I, large)];
}

export const multiplier = (m) => { const [l] = eigenvalues(m); return mul(l, l); };

export const fixedPoints = (m) => eigenvalues(m).map((l) => {
  const [a, b, c, d] = m, one = [b, add(l, a, -1)], other = [add(l, d, -1), c], size = (v) => abs2(v[0]) + abs2(v[1]);
  const best = size(one) >= size(other) ? one : other, r = Math.sqrt(size(best)) || 1;
  return best.map((z) => scale(z, 1 / r));
});

export function classify(m, tolerance = 1e-5) {
  const [x, y] = mul(trace(m), trace(m)), off = (f) => Math.max(...m.map((z, i) => abs(add(z, i % 3 ? O : I, f))));
  if (Math.min(off(1), off(-1)) <= tolerance) return "identity";
  if (Math.abs(y) > tolerance || x < -tolerance) return "loxodromic";
  return Math.abs(x - 4) <= tolerance ? "parabolic" : x > 4 ? "hyperbolic" : "elliptic";
}

// The t-th power, m^t = cosh(tq) + sinh(tq) / sinh(q) (m - cosh(q)) where the trace is 2 cosh(q): the flow whose step is m.
export function power(m, t) {
  const [l] = eigenvalues(m), q = [Math.log(abs(l)), Math.atan2(l[1], l[0])], qq = mul(q, q);
  const e = ([x, y]) => scale([Math.cos(y), Math.sin(y)], Math.exp(x));
  const both = (z, f) => scale(add(e(z), e(scale(z, -1)), f), 0.5), p = scale(q, t);
  const ratio = abs2(q) < 1e-6 ? add([t, 0], scale(qq, (t * (t * t - 1)) / 6)) : div(both(p, -1), both(q, -1));
  const cosh = both(p, 1), half = scale(trace(m), 0.5);
  return m.map((z, i) => add(i % 3 ? O : cosh, mul(ratio, add(z, i % 3 ? O : half, -1))));
}

// A circle or line is A |z|^2 + 2 Re(conj(B) z) + D = 0, as [A, B, D]; its image under a map of determinant 1 is another.
export const circle = ([x, y], r) => [1, [-x, -y], x * x + y * y - r * r];
export function image(m, [A, B, D]) {
  const [p, q, r, s] = inverse(m), part = (u, v) => 2 * mul(conj(B), mul(u, conj(v)))[0];
  const cross = (u, v) => mul(conj(u), v);
  const mixed = add(add(scale(cross(q, p), A), scale(cross(s, r), D)), add(mul(B, cross(q, r)), mul(conj(B), cross(s, p))));
  return [A * abs2(p) + D * abs2(r) + part(p, r), conj(mixed), A * abs2(q) + D * abs2(s) + part(q, s)];
}

// ---- drawing

// What is drawn are arcs: a map's powers carry a point along a circle, and a loxodromic one's nearly, over so short a way.
// The arc from p by q to r, [x, y, radius, from, to, anticlockwise] as a canvas has it; null where it is a line.
export function arc(p, q, r) {
  const a = add(q, p, -1), b = add(r, p, -1), cross = a[0] * b[1] - a[1] * b[0], most = Math.sqrt(abs2(a) * abs2(b));
  if (Math.abs(cross) <= 1e-3 * most) return null;
  const u = [(b[1] * abs2(a) - a[1] * abs2(b)) / (2 * cross), (a[0] * abs2(b) - b[0] * abs2(a)) / (2 * cross)];
  const [x, y] = add(p, u), angle = (z) => Math.atan2(z[1] - y, z[0] - x);
  return [x, y, abs(u), angle(p), angle(r), cross < 0];
}

// A circle of the sphere is where n . v = h with n of length 1. Seen from the front it is an ellipse, [x, y, radii, turn]
// as a canvas has it, its y downwards. Its points are on the front where the sine of `way` times their angle is above `rise`.
export function ellipse(n, h) {
  const m = Math.hypot(n[0], n[1]), a = Math.sqrt(Math.max(1 - h * h, 0)), face = m * a < 1e-9;
  const rise = face ? -Math.sign(h * n[2] || 1) : (-h * n[2]) / (a * m), turn = face ? 0 : Math.atan2(-n[0], -n[1]);
  return { at: [h * n[0], -h * n[1], a, a * Math.abs(n[2]), turn], way: n[2] < 0 ? 1 : -1, rise };
}

export function cut([A, B, D]) { // the plane of a circle or line [A, B, D]: n, as (x, y, up), and h
  const n = [B[0], B[1], (A - D) / 2], size = Math.hypot(...n);
  return [n.map((v) => v / size), -(A + D) / 2 / size];
}

const SPAN = 3, FAR = 1e6, LAST = 6, STEP = 0.125, TAIL = 12;
const TRAITS = ["matrix", "circle", "time", "turn", "trajectory", "at"], LETTERS = ["a", "b", "c", "d", "circle"];
const SHIFT = [[-1, 1], [1, 1], [-1, -1], [1, -1], [0, 0]]; // the letters stand beside their points, as in the matrix
const MAIN = [["time", null, "t", "steps", 0, 4], ["circle", 2, "r", "radius", 0.1, 2]];
const VIEW = [["turn", 0, "↔", "turn", -3.15, 3.15], ["turn", 1, "↕", "tilt", -1.6, 1.6]];
// TAIL: so many characters of a trajectory are drawn at a time, or no eye could follow it
const ALONG = ["at", null, "i", "character", 0, 1, 1];
const SEEDS = [-2.4, -1.6, -0.8, 0, 0.8, 1.6, 2.4].flatMap((x) => [-2.4, -1.6, -0.8, 0, 0.8, 1.6, 2.4].map((y) => [[x, y], I]));
const TIMES = Array.from({ length: LAST / STEP + 1 }, (_, k) => k * STEP);

const complex = ([x, y], d = 2) => num(x, d) + (num(Math.abs(y), d) === num(0, d) ? "" : (y < 0 ? " − " : " + ") + num(Math.abs(y), d) + "i");
const named = (p) => { const z = affine(p); return abs(z) > FAR ? "∞" : complex(z); };
const readable = (s, trait, i) => (trait === "at" ? String(s.at + 1) : num(i === null ? s[trait] : s[trait][i]) +
  (trait === "turn" ? " rad" : ""));

// Where letters, and the dot of the circle, would lie on one another, the letters give way, each by the shorter way.
function apart(spots, W) {
  const inside = (v) => clamp(v, 22, W - 22);
  for (let round = 0; round < 24; round++) for (let i = 0; i < 4; i++) for (let j = i + 1; j < 5; j++) {
    const away = [0, 1].map((k) => spots[j][k] - spots[i][k]), k = +(Math.abs(away[1]) > Math.abs(away[0]));
    const step = Math.max(j < 4 ? 22 - Math.abs(away[k]) : 19 - Math.abs(away[k]), 0) * (away[k] < 0 ? -1 : 1);
    spots[i][k] = inside(spots[i][k] - (j < 4 ? step / 2 : step));
    if (j < 4) spots[j][k] = inside(spots[j][k] + step / 2);
  }
  return spots;
}

function build(tools) {
  const { model, on, later, write, button, slider, arrows, wide, setting } = tools;
  const presets = model.get("presets").map(setting);
  const canvas = el("canvas"), ball = el("canvas.mw-ball", { role: "img" }), stage = el("div.mw-stage", {}, canvas);
  const pins = LETTERS.map((name, i) => {
    const b = el("button.mw-pin", { type: "button" }, el("span", {}, i < 4 ? name : ""));
    b.style.setProperty("--hue", i < 4 ? "var(--fg)" : "var(--r)");
    on(b, "keydown", (e) => {
      const d = arrowOf(e);
      if (!d) return;
      e.preventDefault();
      put(i, add(place(i), d, e.shiftKey ? 0.1 : 0.02));
    });
    stage.append(b);
    return b;
  });
  const readout = el("p.mw-read"), kind = el("strong"), rest = el("span"), along = slider(ALONG), thumb = along.children[1];
  const words = [el("span"), el("mark"), el("span")], text = el("p.mw-text", {}, ...words), play = button(() => { since = since === null ? -1 : null; later(); }, "Play");
  const green = el("span", {}, ` Green: where the state stood after each of the last ${TAIL} characters.`);
  const nodes = [
    el("div.mw-grid", {},
      el("div.mw-plot", {}, stage, readout, text, along),
      el("div", {}, group("kinds", "Class of the map", [...presets, play]), el("p.mw-say", {}, kind, rest), ...MAIN.map(slider), ball,
        el("details", {}, el("summary", {}, "Turn the sphere"), ...VIEW.map(slider)))),
    el("p.mw-note", {}, "Dots flow along their orbits, one step of the map for each unit of t. Orange: a circle, and its " +
      "images under 1, 2, 3 … steps, all of them circles or lines. Full and hollow ring: the fixed points to which and from " +
      "which all flows. Drag a, b, c, d or the circle; drag the sphere to turn it: 0 is below, ∞ above.", green),
  ];

  const place = (i) => (i < 4 ? model.get("matrix")[i] : model.get("circle").slice(0, 2));
  function put(i, z) {
    const to = z.map((v) => +clamp(v, -SPAN, SPAN).toFixed(4));
    if (i > 3) return write({ circle: [...to, model.get("circle")[2]] });
    const matrix = model.get("matrix").map((old, k) => (k === i ? to : old));
    if (abs2(det(matrix)) > 1e-6) write({ matrix });
  }

  const flowOf = keeper(), planeOf = keeper(), ballOf = keeper(), underlays = [el("canvas"), el("canvas")];
  let drag = null, hover = null, since = null, from = 0;

  function paint(s, now, quick) {
    const m = normalised(s.matrix), key = JSON.stringify(m), W = wide(canvas);
    for (const { b, state } of presets) press(b, shows(s, state));
    tell(play, since === null ? "Play" : "Stop");
    press(play, since !== null);
    for (const node of [text, along, green]) update(node, "hidden", !s.trajectory.length);
    if (+thumb.max !== Math.max(s.trajectory.length - 1, 1)) {
      thumb.max = Math.max(s.trajectory.length - 1, 1);
      thumb.value = s.at;
    }
    if (!W) return "";
    if (since !== null) { // the clock starts where the slider stands
      if (since < 0) [since, from] = [now, s.time >= 4 ? 0 : s.time];
      const time = +(from + (now - since) / 1200).toFixed(3);
      if (time >= 4) since = null;
      write({ time: Math.min(time, 4) });
    }
    const flow = flowOf(key, quick, () => {
      const steps = TIMES.filter((_, i) => !quick || i % 2 === 0).map((t) => power(m, t));
      return SEEDS.map((p) => steps.map((step) => move(step, p)));
    });
    const type = classify(m), fixed = fixedPoints(m), k = multiplier(m), now_ = power(m, s.time);
    const images = [0, 1, 2, 3, 4, 5].map((n) => compose(now_, power(m, n)));
    const at = Math.min(s.at, s.trajectory.length - 1);
    const tail = s.trajectory.slice(Math.max(at - TAIL, 0), at + 1).map(([, x, y]) => [[x, y], I]);
    const shown = { key: [key, finer, shade, devicePixelRatio] + "", quick, flow, type, fixed, images, now_, tail };
    plane(s, W, shown);
    globe(s, shown);

    tell(kind, type[0].toUpperCase() + type.slice(1));
    tell(rest, ` map: trace ${complex(trace(m))}. ` + (type === "identity" ? "Every point is fixed." :
      type === "parabolic" ? `One fixed point, ${named(fixed[0])}, from which and to which all flows.` :
      `Fixed points ${fixed.map(named).join(" and ")}. Multiplier ${complex(k)}: each step ` +
      `stretches by ${num(abs(k))} and turns by ${num((Math.atan2(k[1], k[0]) * 180) / Math.PI, 0)}° around the latter.`));
    let read = `det ${complex(det(s.matrix))}, made 1 by dividing by its root. Point, or use the arrow keys, to see where z goes.`;
    if (hover) {
      const p = [scale(hover, SPAN), I], z = complex(p[0]);
      read = `z = ${z} goes to ${named(move(m, p))}, and comes from ${named(move(inverse(m), p))}.`;
    }
    tell(readout, read);
    if (at < 0) return kind.textContent + rest.textContent;
    [[at - 30, at], [at, at + 1], [at + 1, at + 31]].forEach(([low, end], i) => tell(words[i],
      s.trajectory.slice(Math.max(low, 0), end).map(([char]) => char).join("")));
    return kind.textContent + rest.textContent;
  }

  function plane(s, W, { key, quick, flow, fixed, type, images, now_, tail }) {
    const { g, color, style, line, dot } = pen(canvas, W, W), u = W / (2 * SPAN);
    const px = ([x, y]) => [W / 2 + u * clamp(x, -1e3, 1e3), W / 2 - u * clamp(y, -1e3, 1e3)];
    const broken = (lists) => { // a line that leaves the picture through the pole comes back elsewhere
      const path = new Path2D(), near = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]) < W;
      for (const list of lists) {
        const at = list.map((p) => px(affine(p)));
        path.moveTo(...at[0]);
        for (let i = 0; i + 1 < at.length; i += 2) { // two steps are an arc
          const [p, q, r = q] = [at[i], at[i + 1], at[i + 2]], round = near(p, q) && near(q, r) && arc(p, q, r);
          if (round && round[2] < 1e4) path.arc(...round);
          else for (const [from, to] of [[p, q], [q, r]]) near(from, to) ? path.lineTo(...to) : path.moveTo(...to);
        }
      }
      return path;
    };
    g.drawImage(planeOf(key + W, quick, () => {
      const { g, style, line, text: write_ } = pen(underlays[0], W, W, canvas);
      style("line", 1);
      line(W / 2, 0, W / 2, W);
      line(0, W / 2, W, W / 2);
      for (const n of [-2, -1, 1, 2]) {
        write_(num(n, 0), W / 2 + u * n, W / 2 + 10, "center");
        write_(num(n, 0) + "i", W / 2 - 4, W / 2 - u * n, "right");
      }
      style("line", 1);
      g.beginPath();
      g.arc(W / 2, W / 2, u, 0, 7);
      g.stroke();
      g.globalAlpha = 0.45;
      style("l", 1);
      g.stroke(broken(flow));
      g.globalAlpha = 1;
      return underlays[0];
    }), 0, 0, W, W);
    dots(g, color("l"), 2.6, SEEDS.map((p) => px(affine(move(now_, p)))));
    images.forEach((step, n) => {
      const [A, B, D] = image(step, circle(s.circle, s.circle[2])), size = Math.sqrt(Math.max(abs2(B) - A * D, 0));
      g.globalAlpha = 1 - n / 7;
      style("r", n ? 1.3 : 2.5);
      if (Math.abs(A) * 500 > size) {
        const [x, y] = px(scale(B, -1 / A));
        g.beginPath();
        g.arc(x, y, (u * size) / Math.abs(A), 0, 7);
        g.stroke();
      } else { // nearly a line: B . z = -D / 2
        const foot = scale(B, -D / (2 * abs2(B))), way = scale([-B[1], B[0]], 9 / abs(B));
        line(...px(add(foot, way)), ...px(add(foot, way, -1)));
      }
    });
    g.globalAlpha = 1;
    if (type !== "identity") fixed.forEach((p, i) => ring(g, color, px(affine(p)), i));
    style("m", 2);
    tail.forEach((p, i) => { // older ones are paler
      g.globalAlpha = (i + 1) / tail.length;
      if (i) g.stroke(broken([[tail[i - 1], p]]));
      dot(...px(affine(p)), i === tail.length - 1 ? 6 : 2.5, "m");
    });
    g.globalAlpha = 1;
    const spots = apart(pins.map((_, i) => {
      const [x, y] = px(place(i)), [dx, dy] = SHIFT[i];
      if (i < 4) dot(x, y, 3, "fg");
      return [x + 13 * dx, y - 13 * dy].map((v) => clamp(v, 22, W - 22));
    }), W);
    pins.forEach((b, i) => {
      update(b.style, "left", spots[i][0].toFixed(1) + "px");
      update(b.style, "top", spots[i][1].toFixed(1) + "px");
      update(b, "ariaLabel",
        `${i < 4 ? "Coefficient " : "Centre of the "}${LETTERS[i]} at ${complex(place(i))}; arrow keys move it`);
    });
  }

  function dots(g, fill, r, places) {
    g.beginPath();
    for (const [x, y] of places) {
      g.moveTo(x + r, y);
      g.arc(x, y, r, 0, 7);
    }
    g.fillStyle = fill;
    g.fill();
  }

  function ring(g, color, [x, y], i) {
    g.beginPath();
    g.arc(x, y, 5.5, 0, 7);
    g.fillStyle = color(i ? "bg" : "and");
    g.fill();
    g.strokeStyle = color("and");
    g.lineWidth = 2.5;
    g.stroke();
  }

  function globe(s, { key, quick, flow, fixed, type, images, now_, tail }) {
    const W = wide(ball);
    if (!W) return;
    const { g, color, style, text: write_, dot } = pen(ball, W, W), R = W / 2 - 10;
    const seen = (p) => { // north is up
      const [x, y, z] = sphere(p), [a, b, c] = turned([x, z, -y], s.turn);
      return [W / 2 + R * a, W / 2 - R * b, c];
    };
    const threads = (lists) => { // what lies behind, and what before
      const sides = [new Path2D(), new Path2D()];
      for (const list of lists) {
        const at = list.map(seen);
        for (let i = 0, on = null; i + 1 < at.length; i += 2) { // two steps, as short as they are here, are a parabola
          const [p, q, r = q] = [at[i], at[i + 1], at[i + 2]], side = sides[+(p[2] + r[2] > 0)];
          const bend = (k) => (r === q ? q[k] : 2 * q[k] - (p[k] + r[k]) / 2);
          if (side !== on) side.moveTo(p[0], p[1]);
          side.quadraticCurveTo(bend(0), bend(1), r[0], r[1]);
          on = side;
        }
      }
      return sides;
    };
    const hoop = (of) => { // a whole circle: its part behind, and that before
      const [n, h] = cut(of), { at, way, rise } = ellipse(turned([n[0], n[2], -n[1]], s.turn), h);
      const [x, y, a, b] = at.map((v) => R * v), edge = Math.asin(clamp(rise, -1, 1)), half = Math.PI - edge;
      return [[rise > -1, half, 2 * Math.PI + edge], [rise < 1, edge, half]].map(([there, from, to]) => {
        const side = new Path2D();
        if (there) side.ellipse(W / 2 + x, W / 2 + y, a, b, at[4], way * from, way * to, way < 0);
        return side;
      });
    };
    const draw = (g, sides, ...alphas) => {
      sides.forEach((side, i) => {
        g.globalAlpha = alphas[i];
        g.stroke(side);
      });
      g.globalAlpha = 1;
    };
    g.drawImage(ballOf([key, s.turn, W] + "", quick, () => {
      const { g, color, style } = pen(underlays[1], W, W, ball);
      g.beginPath();
      g.arc(W / 2, W / 2, R, 0, 7);
      g.fillStyle = color("soft");
      g.fill();
      style("dim", 1);
      g.stroke();
      draw(g, hoop(circle(O, 1)), 0.25, 0.8);
      style("l", 1);
      draw(g, threads(flow), 0.12, 0.5);
      return underlays[1];
    }), 0, 0, W, W);
    dots(g, color("l"), 2.2, SEEDS.map((p) => seen(move(now_, p))).filter(([, , z]) => z > 0));
    images.forEach((step, n) => {
      style("r", n ? 1.3 : 2.5);
      draw(g, hoop(image(step, circle(s.circle, s.circle[2]))), 0.2, 1 - n / 7);
    });
    if (type !== "identity") for (const [i, p] of fixed.entries()) {
      const [x, y, z] = seen(p);
      g.globalAlpha = z > 0 ? 1 : 0.35;
      ring(g, color, [x, y], i);
    }
    g.globalAlpha = 1;
    style("m", 2);
    tail.forEach((p, i) => {
      const pale = (i + 1) / tail.length, [x, y, z] = seen(p);
      if (i) draw(g, threads([[tail[i - 1], p]]), 0.3 * pale, pale);
      g.globalAlpha = z > 0 ? pale : 0.3 * pale;
      dot(x, y, i === tail.length - 1 ? 6 : 2.5, "m");
    });
    g.globalAlpha = 1;
    for (const [name, p] of [["0", [O, I]], ["∞", [I, O]], ["1", [I, I]], ["i", [[0, 1], I]]]) {
      const [x, y, z] = seen(p);
      if (z > -0.2) write_(name, x + 5, y - 8, "left", "fg");
    }
    update(ball, "ariaLabel", `The same on the sphere. ${fixed.map(named).join(" and ")} stay.`);
  }

  // -- events
  const spot = (e) => {
    const { left, top, width } = canvas.getBoundingClientRect();
    return [(2 * (e.clientX - left)) / width - 1, 1 - (2 * (e.clientY - top)) / width];
  };
  on(stage, "pointerdown", (e) => {
    hover = spot(e);
    later();
    const b = e.target.closest(".mw-pin");
    if (e.button || !b) return;
    const { left, top } = canvas.getBoundingClientRect(); // pins may overlap: the nearest one
    const far = (pin) => Math.hypot(parseFloat(pin.style.left) + left - e.clientX, parseFloat(pin.style.top) + top - e.clientY);
    const near = pins.reduce((a, c) => (far(c) < far(a) ? c : a)), i = pins.indexOf(near);
    drag = { i, off: add(scale(place(i), 1 / SPAN), hover, -1) };
    near.focus({ preventScroll: true });
    stage.setPointerCapture(e.pointerId);
    e.preventDefault();
  });
  on(stage, "pointermove", (e) => {
    hover = spot(e);
    if (drag) put(drag.i, scale(add(hover, drag.off), SPAN));
    else later();
  });
  on(stage, "pointerleave", (e) => { if (e.pointerType === "mouse") { hover = null; later(); } });
  for (const end of ["pointerup", "pointercancel"]) on(stage, end, () => { drag = null; });
  arrows(canvas, (d) => { hover = d && (hover ?? O).map((v, k) => clamp(v + 0.01 * d[k], -1, 1)); });
  turnable(tools, ball);
  const valid = {
    matrix: (v, same) => same && abs2(det(v)) > 1e-6 && v.flat().every((x) => Math.abs(x) <= SPAN),
    circle: (v, same) => same && v.every((x) => Math.abs(x) <= SPAN) && v[2] > 0,
    at: (v) => Number.isInteger(v) && v >= 0 && v < model.get("trajectory").length,
  };
  return { nodes, canvas, paint, title: "A Möbius map of the plane and the sphere", valid };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
