// Chapter 3's widget. First the mathematics, pure and with the names of mobius_lib.simplex.math; then the drawing.
// Points are arrays of coordinates, a simplex is the array of its vertices.

export const SMALLEST_NORM = 1e-12, STEEP = 4;

const dot2 = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0), length = (a) => Math.sqrt(dot2(a, a));

export const centroid = (v) => v[0].map((_, i) => mean(v.map((p) => p[i])));

const unit = (a) => a.map((v) => v / Math.max(length(a), SMALLEST_NORM));

const between = (a, b) => length(a.map((v, i) => v - b[i]));

export function cayleyMengerVolume(v) { // from the edges alone; the determinant by elimination
  const n = v.length + 1, k = v.length - 1, corners = [null, ...v];
  const m = corners.map((a, i) => corners.map((b, j) => (i && j ? between(a, b) ** 2 : +(i !== j))));
  let det = 1, factorial = 1;
  for (let c = 0; c < n; c++) {
    let best = c;
    for (let r = c; r < n; r++) if (Math.abs(m[r][c]) > Math.abs(m[best][c])) best = r;
    if (!m[best][c]) return 0;
    if (best !== c) [m[c], m[best], det] = [m[best], m[c], -det];
    det *= m[c][c];
    for (let r = c + 1; r < n; r++) {
      const f = m[r][c] / m[c][c];
      for (let j = c; j < n; j++) m[r][j] -= f * m[c][j];
    }
  }
  for (let i = 2; i <= k; i++) factorial *= i;
  return Math.sqrt(Math.max(((-1) ** (k + 1) * det) / 2 ** k, 0)) / factorial;
}

// What the classes make of a point (x, y) of the plane: c, the staircase of one level along the direction d in degrees,
// of sigmoid(STEEP q.d); the terms of every class as [cosine, squared gap, distance]; and the logits. The next point
// overwrites what this one has got: a map asks ten thousand times.
export function fit(s) {
  const [feature, cantor, crystal] = softmax(s.geo_weights), directions = s.vertices.map((v) => unit(centroid(v)));
  const angle = (s.direction * Math.PI) / 180, dx = Math.cos(angle), dy = Math.sin(angle);
  const flat = s.vertices.map((v) => Float64Array.from(v.flat()));
  const found = { c: 0, terms: directions.map(() => [0, 0, 0]), logits: directions.map(() => 0) };
  return (x, y) => {
    const size = Math.sqrt(x * x + y * y) || 1, p = thirds(sigmoid(STEEP * (x * dx + y * dy)), s.tau);
    const c = found.c = s.alpha * p[1] + p[2];
    for (let i = 0; i < directions.length; i++) {
      const term = found.terms[i], gap = c - s.cantor_prototypes[i], v = flat[i];
      let least = Infinity;
      for (let k = 0; k < v.length; k += 2) least = Math.min(least, (x - v[k]) * (x - v[k]) + (y - v[k + 1]) * (y - v[k + 1]));
      term[0] = (x * directions[i][0] + y * directions[i][1]) / size;
      term[1] = gap * gap;
      term[2] = Math.sqrt(least);
      found.logits[i] = feature * term[0] - cantor * term[1] - crystal * term[2];
    }
    return found;
  };
}

// The 3-simplex with edges sqrt 2, its last vertex moved to `pull` times its height over the face of the others.
export function tetrahedron(pull) {
  const h = (i) => 1 / Math.sqrt(i * (i + 1)), [a, b, c] = [h(1), h(2), h(3)];
  return [[a, b, c], [-a, b, c], [0, -2 * b, c], [0, 0, c - 4 * c * pull]];
}

export function turned(p, [yaw, pitch]) { // about the upright axis, then about the level one
  const [x, y, z] = p, cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
  const x1 = cy * x + sy * z, z1 = cy * z - sy * x;
  return [x1, cp * y - sp * z1, sp * y + cp * z1];
}

export function best(v) {
  let top = 0;
  for (let i = 1; i < v.length; i++) if (v[i] > v[top]) top = i;
  return top;
}

// The vertex of v that is nearest to a point of the sphere.
export function nearest(v) {
  const half = v.map((p) => dot2(p, p) / 2);
  return (x, y, z) => best(v.map((p, i) => p[0] * x + p[1] * y + p[2] * z - half[i]));
}

// ---- drawing

const SPAN = 1.6, REACH = 1.45, CELLS = 170, BALL = 200; // half of the plane, how far a dot goes, pixels of the maps
const CLASSES = ["A", "B", "C"], TERMS = ["feature", "Cantor", "crystal"], HUES = ["l", "r", "m", "xor"];
const MIX = TERMS.map((name, i) => ["geo_weights", i, "w" + "₁₂₃"[i], name, -7, 3]);
const PROTOTYPES = CLASSES.map((name, i) => ["cantor_prototypes", i, name, "Cantor value", 0, 1]);
const STAIRS = [
  ["alpha", null, "α", "middle third", -0.5, 1.5],
  ["tau", null, "τ", "temperature", -4, 0, 0.01, true],
  ["direction", null, "d", "direction", 0, 360, 1],
];
const BODY = [
  ["turn", 0, "↔", "turn", -3.15, 3.15],
  ["turn", 1, "↕", "tilt", -1.6, 1.6],
  ["pull", null, "h", "height of 4", 0, 1.5],
];
const TRAITS = ["vertices", "geo_weights", "cantor_prototypes", "alpha", "tau", "direction", "turn", "pull"];

function readable(s, trait, i) {
  if (trait === "geo_weights") return `${num(s[trait][i])}→${num(softmax(s[trait])[i], 3)}`;
  if (trait === "direction") return num(s.direction, 0) + "°";
  if (trait === "tau") return String(+s.tau.toPrecision(3));
  return num(i === null ? s[trait] : s[trait][i], 2) + (trait === "turn" ? " rad" : "");
}

const GOLDEN = Math.PI * (3 - Math.sqrt(5));

function raster(made, size, pixel) { // from pixel(x, y), x and y from -1 to 1, upwards; `made` keeps one of each size
  const fresh = () => {
    const c = el("canvas", { width: size, height: size }), g = c.getContext("2d"), img = g.createImageData(size, size);
    return { c, g, img, pixels: new Uint32Array(img.data.buffer) };
  };
  const { c, g, img, pixels } = made[size] ??= fresh();
  for (let row = 0, n = 0; row < size; row++) for (let i = 0; i < size; i++, n++)
    pixels[n] = pixel((2 * i + 1) / size - 1, 1 - (2 * row + 1) / size);
  g.putImageData(img, 0, 0);
  return c;
}

const shares = (counts) => counts.map((n) => n / counts.reduce((a, b) => a + b));
const said = (names, v) => names.map((name, i) => `${name}\u00a0${pct(v[i])}`).join(", ");

function build({ model, on, later, write, button, slider, arrows, wide, setting }) {
  // -- elements
  const presets = model.get("presets").map(setting), of = (name) => presets.filter((p) => p.group === name);
  const canvas = el("canvas"), ball = el("canvas", { role: "img" }), stage = el("div.mw-stage", {}, canvas);
  const pins = CLASSES.flatMap((name, i) => [0, 1, 2, null].map((j) => {
    const b = el("button.mw-pin", { type: "button" }, el("span", {}, j === null ? name : ""));
    b.style.setProperty("--hue", `var(--${HUES[i]})`);
    on(b, "keydown", (e) => {
      const d = arrowOf(e);
      if (!d) return;
      e.preventDefault();
      move([i, j], place([i, j]).map((v, k) => v + d[k] * (e.shiftKey ? 0.1 : 0.02)));
    });
    stage.append(b);
    return { b, pin: [i, j] };
  }));
  const readout = el("p.mw-read"), kind = el("strong"), rest = el("span"), body = el("p.mw-say");
  const nodes = [
    el("div.mw-grid", {},
      el("div.mw-plot", {}, stage, readout),
      el("div", {}, el("p.mw-say", {}, kind, rest), group("place", "Place the triangles", of("place")), ...MIX.map(slider),
        el("p.mw-note", {}, "What the published David had learned in each of its five spaces"), group("mix", "Mixing weights", of("mix")),
        ...PROTOTYPES.map(slider),
        el("details", {}, el("summary", {}, "The staircase"), ...STAIRS.map(slider)))),
    el("p.mw-note", {}, "A point q of the plane stands for a picture, in a space of two dimensions with three classes of " +
      "three corners. The network brings every q to length 1, so all that it ever reads is the white circle. Off the " +
      "circle you see the same formula with q as it is; the direction term knows only where q points. In the network " +
      "the staircase reads the features themselves; here it reads q: " +
      `x = σ(${STEEP} q·d), along the dashed line. Faint: two classes nearly tie.`),
    el("div.mw-body", {}, ball, el("div", {}, body, ...BODY.map(slider))),
    el("p.mw-note", {}, "A simplex of four corners inside the sphere of radius 1, on which every q of three dimensions lies. " +
      "Each point of the sphere has the colour of the nearest corner. Drag to turn."),
  ];

  // -- geometry
  const place = ([i, j]) => { const v = model.get("vertices")[i]; return j === null ? centroid(v) : v[j]; };
  function move([i, j], to) { // one vertex, or with j null the whole triangle
    const all = model.get("vertices"), from = place([i, j]);
    const step = to.map((v, k) => clamp(v, -REACH, REACH) - from[k]);
    write({ vertices: all.map((v, a) => v.map((p, b) =>
      (a === i && (j === null || b === j) ? p.map((x, k) => +(x + step[k]).toFixed(4)) : p))) });
  }

  // -- picture
  const mapOf = keeper(), ballOf = keeper(), pinsOf = keeper(), maps = {}, balls = {};
  let hover = null, map = null, drag = null, spin = null;

  function regions(s, paper, hues, cells) {
    const f = fit(s), count = [0, 0, 0], circle = [0, 0, 0], ink = hues.map((hue) => tones(paper, hue, 0.2, 0.65));
    const c = raster(maps, cells, (x, y) => {
      const { logits } = f(SPAN * x, SPAN * y), i = best(logits);
      const lead = logits[i] - Math.max(logits[(i + 1) % 3], logits[(i + 2) % 3]);
      count[i]++;
      return ink[i][Math.floor((TONES - 1) * Math.min(4 * lead, 1))];
    });
    for (let n = 0, turn = Math.PI / (4 * cells); n < 8 * cells; n++)
      circle[best(f(Math.cos(n * turn), Math.sin(n * turn)).logits)]++;
    return { c, count: shares(count), circle: shares(circle) };
  }

  function paint(s, now, quick) {
    const W = wide(canvas), width = wide(ball);
    if (!W) return "";
    const drawn = pen(canvas, W, W), { g, style, path, line, text, outlined } = drawn;
    const hues = HUES.map((name) => rgb(drawn, name)), paper = rgb(drawn, "bg");
    const key = JSON.stringify([s.vertices, s.geo_weights, s.cantor_prototypes, s.alpha, s.tau, s.direction, paper]);
    map = mapOf(key, quick, () => regions(s, paper, hues, CELLS / (quick ? 2.5 : 1)));

    const px = (x) => (W * (x / SPAN + 1)) / 2, py = (y) => (W * (1 - y / SPAN)) / 2, at = (p) => [px(p[0]), py(p[1])];
    g.imageSmoothingEnabled = !quick; // which costs as much as the map
    g.drawImage(map.c, 0, 0, W, W);
    const a = (s.direction * Math.PI) / 180, far = [1.38 * Math.cos(a), 1.38 * Math.sin(a)];
    style("fg", 1, [4, 4]);
    line(...at(far.map((v) => -v)), ...at(far));
    text("c grows", px(far[0]), py(far[1]) - 9, far[0] > 0 ? "right" : "left", "fg");
    outlined(() => g.arc(px(0), py(0), W / (2 * SPAN), 0, 7));
    s.vertices.forEach((v, i) => {
      style(HUES[i], 2);
      path([...v, v[0]].map(at));
      g.stroke();
    });
    pinsOf(W + String(s.vertices), false, () => pins.forEach(({ b, pin }) => {
      const p = place(pin), [x, y] = at(p);
      Object.assign(b.style, { left: x + "px", top: y + "px" });
      b.ariaLabel = `${pin[1] === null ? "Triangle" : `Corner ${pin[1] + 1} of`} ${CLASSES[pin[0]]} at ` +
        `${num(p[0])}, ${num(p[1])}; arrow keys move it`;
    }));

    for (const { b, state } of presets) press(b, shows(s, state));
    const sizes = s.vertices.map((v) => length(centroid(v))), none = [0, 1, 2].filter((i) => sizes[i] < 1e-6);
    tell(kind, said(CLASSES, map.count));
    tell(rest, ` of the picture; ${said(CLASSES, map.circle)} of the circle. ` + (none.length
      ? `The centroids of ${none.map((i) => CLASSES[i]).join(", ")} are 0 up to rounding ` +
        `(${none.map((i) => sizes[i].toExponential(0).replace("-", "\u2212")).join(", ")}): the cosine to them reads ` +
        "the direction of a rounding error."
      : `Centroids of length ${sizes.map((v) => num(v)).join(", ")}.`));

    let read = "Point, or use the arrow keys on the picture, to read the terms. Drag a dot, or a letter for its whole triangle.";
    if (hover) {
      const q = hover.map((v) => SPAN * v), { c, terms, logits } = fit(s)(...q), i = best(logits);
      outlined(() => g.arc(px(q[0]), py(q[1]), 4, 0, 7));
      read = `q (${num(q[0])}, ${num(q[1])}), c ${num(c)}: ` + terms.map(([cos, gap, d], k) =>
        `${CLASSES[k]} cos ${num(cos)}, gap² ${num(gap)}, dist ${num(d)} → ${num(logits[k])}`).join("; ") +
        `. Class ${CLASSES[i]}.`;
    }
    tell(readout, read);
    const turn = JSON.stringify([s.turn, s.pull, paper, width]);
    ballOf(turn, quick, () => solid(s, hues, paper, width, BALL / (quick ? 2 : 1)));
    return kind.textContent + rest.textContent;
  }

  function solid(s, hues, paper, W, cells) {
    const { g, style, line, text, dot } = pen(ball, W, W), v = tetrahedron(s.pull);
    const seen = v.map((p) => turned(p, s.turn)), half = W / 2 - 8, owner = nearest(seen);
    const at = ([x, y]) => [W / 2 + half * x, W / 2 - half * y];
    const ink = hues.map((hue) => tones(paper, hue, 0.15, 0.55)), count = [0, 0, 0, 0];
    g.drawImage(raster(balls, cells, (x, y) => {
      const z = Math.sqrt(1 - x * x - y * y);
      return z >= 0 ? ink[owner(x, y, z)][Math.floor((TONES - 1) * z)] : 0;
    }), 8, 8, 2 * half, 2 * half);
    style("dim", 1.5);
    g.beginPath();
    g.arc(W / 2, W / 2, half, 0, 7);
    g.stroke();
    for (const [i, j] of [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]) {
      const depth = (seen[i][2] + seen[j][2]) / 2;
      style("fg", 1.8 + depth, depth < -0.1 ? [4, 4] : []);
      line(...at(seen[i]), ...at(seen[j]));
    }
    for (const p of [...seen].sort((a, b) => a[2] - b[2])) {
      const i = seen.indexOf(p);
      dot(...at(p), 10 + 2 * p[2], "bg");
      dot(...at(p), 9 + 2 * p[2], HUES[i]);
      text(i + 1, ...at(p), "center", "bg");
    }
    for (let n = 0; n < 1500; n++) { // points spread evenly over the sphere, along a spiral
      const z = 1 - (2 * n + 1) / 1500, r = Math.sqrt(1 - z * z);
      count[owner(r * Math.cos(GOLDEN * n), r * Math.sin(GOLDEN * n), z)]++;
    }
    body.textContent = `Volume ${num(cayleyMengerVolume(v), 4)} by Cayley and Menger, from its edges: those ` +
      `of the base 1.41, those to corner 4 ${num(between(v[3], v[0]))}. Share of the sphere: corner ${said(["1:", "2:", "3:", "4:"], shares(count))}.`;
    ball.ariaLabel = `Tetrahedron in a sphere. ${body.textContent}`;
  }

  // -- events
  const spot = (e) => {
    const { left, top, width } = canvas.getBoundingClientRect();
    return [(2 * (e.clientX - left)) / width - 1, 1 - (2 * (e.clientY - top)) / width];
  };
  on(stage, "pointerdown", (e) => {
    const p = spot(e);
    hover = p;
    later();
    if (e.button || !e.target.closest(".mw-pin")) return;
    const near = pins.map(({ pin }) => -length(place(pin).map((v, k) => v / SPAN - p[k]))); // pins may overlap
    drag = pins[best(near)];
    drag.b.focus({ preventScroll: true });
    stage.setPointerCapture(e.pointerId);
    e.preventDefault();
  });
  on(stage, "pointermove", (e) => {
    hover = spot(e);
    if (drag) move(drag.pin, hover.map((v) => v * SPAN));
    else later();
  });
  arrows(canvas, (d) => { hover = d && (hover ?? [0, 0]).map((v, k) => clamp(v + 0.01 * d[k], -1, 1)); });
  on(stage, "pointerleave", (e) => { if (e.pointerType === "mouse") { hover = null; later(); } });
  on(ball, "pointerdown", (e) => { spin = [e.clientX, e.clientY]; ball.setPointerCapture(e.pointerId); });
  on(ball, "pointermove", (e) => {
    if (!spin) return;
    const [yaw, pitch] = model.get("turn"), dx = (e.clientX - spin[0]) / 100, dy = (e.clientY - spin[1]) / 100;
    spin = [e.clientX, e.clientY];
    const around = yaw + dx - 2 * Math.PI * Math.round((yaw + dx) / (2 * Math.PI));
    write({ turn: [around, clamp(pitch + dy, -1.6, 1.6)] });
  });
  for (const end of ["pointerup", "pointercancel"]) {
    on(stage, end, () => { drag = null; });
    on(ball, end, () => { spin = null; });
  }
  const valid = { vertices: (v, same) => same && v.flat(2).every((x) => Math.abs(x) <= 2 * REACH) };
  return { nodes, canvas, paint, title: "Decision regions of three classes", valid };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
