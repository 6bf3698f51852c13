// A trained David in the page. Workers read the features of the held-out pictures once (david.js); what the sliders
// turn comes behind that and is computed here: the staircase, three weighted terms of each class, all answers.

const TRAITS = ["mix", "alpha", "tau", "picture", "view"], TURNED = TRAITS.slice(0, 3);
const TERMS = ["feature", "Cantor", "crystal"], TINTS = ["xor", "and", "dim"]; // the terms in the bars
const HUES = ["l", "r", "m"]; // the three classes of the slice
const MIX = TERMS.map((name, i) => ["mix", i, "w" + "₁₂₃"[i], name, 0, 1]);
const SLIDERS = {
  basins: MIX,
  staircase: [
    ["alpha", null, "α", "middle third", -0.5, 1.5],
    ["tau", null, "τ", "temperature", -4, 0, 0.01, true],
    MIX[1],
  ],
};
const ROWS = 50, CELLS = 140, FACE = 72, LINE = 15, BINS = 60; // rows a job; pixels of the map and of the picture

export const climb = (x, { alpha, tau }) => { const p = thirds(x, tau); return alpha * p[1] + p[2]; };

// The weighted terms of every class, whose sums are the logits; the cosines and distances begin at a place.
export const terms = (own, { cosine, distance }, at, c, [feature, cantor, crystal]) =>
  Array.from(own.prototypes, (prototype, y) =>
    [feature * cosine[at + y], -cantor * (c - prototype) ** 2, -crystal * distance[at + y]]);

const WON = { best: 0, lead: 0 }; // the next call overwrites it: a map asks twenty thousand times
function won({ C, prototypes }, { cosine, distance }, at, c, [feature, cantor, crystal]) {
  let first = -Infinity, second = -Infinity;
  for (let y = 0; y < C; y++) {
    const gap = c - prototypes[y], logit = feature * cosine[at + y] - cantor * gap * gap - crystal * distance[at + y];
    if (logit > first) {
      second = first;
      first = logit;
      WON.best = y;
    } else if (logit > second) second = logit;
  }
  WON.lead = first - second;
  return WON;
}

export function judge(own, seen, s) { // the class that each row is given
  const w = shares(s.mix);
  return Array.from(seen.x, (x, row) => won(own, seen, row * own.C, climb(x, s), w).best);
}

export const shares = (mix) => { const sum = mix.reduce((a, b) => a + b); return mix.map((v) => (sum ? v / sum : 1 / 3)); };
const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
const less = (a, b, k = 1) => a.map((v, i) => v - k * b[i]);
const unit = (a) => { const size = Math.sqrt(dot(a, a)); return a.map((v) => v / size); };

// The plane through q parallel to three classes' directions, as what a grid of its points, each brought to length 1,
// has of cosines and distances; and where directions and corners of the three stand, seen straight from above.
export function slice({ C, V, D, vertices, directions }, q, three, cells) {
  const part = (list, i) => list.subarray(i * D, (i + 1) * D), [a, b, c] = three.map((y) => part(directions, y));
  const right = unit(less(b, a)), up = unit(less(less(c, a), right, dot(less(c, a), right)));
  const axes = [q, right, up], above = (p) => [right, up].map((axis) => dot(less(p, q), axis));
  const heads = [a, b, c].map(above), span = 1.2 * Math.max(0.3, ...heads.flat().map(Math.abs));
  const along = (list, count) => Array.from({ length: count }, (_, i) => axes.map((axis) => dot(part(list, i), axis)));
  const toward = along(directions, C), corners = along(vertices, C * V), slope = [dot(q, right), dot(q, up)];
  const squares = Array.from({ length: C * V }, (_, i) => dot(part(vertices, i), part(vertices, i)));
  const cosine = new Float32Array(cells * cells * C), distance = new Float32Array(cells * cells * C);
  for (let n = 0, at = 0; n < cells * cells; n++, at += C) {
    const x = span * ((2 * (n % cells) + 1) / cells - 1), y = span * (1 - (2 * Math.floor(n / cells) + 1) / cells);
    const size = Math.sqrt(1 + 2 * (x * slope[0] + y * slope[1]) + x * x + y * y);
    for (let i = 0; i < C; i++) {
      let least = Infinity;
      for (let k = i * V; k < (i + 1) * V; k++) {
        const v = corners[k], d = squares[k] - (2 * (v[0] + x * v[1] + y * v[2])) / size;
        if (d < least) least = d;
      }
      const u = toward[i];
      cosine[at + i] = (u[0] + x * u[1] + y * u[2]) / size;
      distance[at + i] = Math.sqrt(Math.max(1 + least, 0));
    }
  }
  const ends = three.map((y) => Array.from({ length: V }, (_, i) => above(part(vertices, y * V + i))));
  return { cosine, distance, axes, span, heads, ends };
}

function readable(s, trait, i) {
  if (trait === "mix") return num(100 * shares(s.mix)[i]) + "\u202f%";
  return trait === "tau" ? String(+s.tau.toPrecision(3)) : num(s[trait], 3);
}

function build(tools) {
  const { model, later, slider, wide, setting } = tools, trained = model.get("trained"), it = gallery(tools, model, {
    before: "A David of one space, trained on the features of pictures.", instead: "The text below says what it would do.",
  }, start), { names, total } = it;

  // -- elements
  const canvas = el("canvas"), said = el("p.mw-read");
  const presets = [], panels = Object.entries(SLIDERS).map(([view, list]) => {
    const own = model.get("presets")[view].map(setting);
    presets.push(...own);
    return { view, panel: el("div", {}, ...list.map(slider), group("pair", "Settings", own)) };
  });
  it.body.append(it.say, it.bar, ...panels.map((p) => p.panel), it.thumbs, it.further);
  const nodes = [it.intro, it.load, el("div.mw-grid", {}, el("div.mw-plot", {}, canvas, said), it.body)];

  // -- what the workers say
  let own = null, seen = null, before = [], answers = []; // as trained, and now

  function start() {
    it.workers.ask({}).then((classes) => {
      own = classes;
      const room = { x: 1, q: own.D, cosine: own.C, distance: own.C };
      const all = Object.fromEntries(Object.entries(room).map(([k, width]) => [k, new Float64Array(total * width)]));
      for (let from = 0; from < total; from += ROWS)
        it.workers.ask({ from, to: Math.min(from + ROWS, total) }).then((found) => {
          for (const [k, width] of Object.entries(room)) all[k].set(found[k], from * width);
          it.done += found.x.length;
          if (it.done === total) {
            it.workers.close();
            seen = all;
            before = judge(own, seen, trained);
          }
          later();
        });
    });
  }

  // -- picture
  const answersOf = keeper(), sliceOf = keeper(), mapOf = keeper();
  const correct = (classes) => share(it.right(classes) / total);

  function paint(s, now, quick) {
    const W = wide(canvas);
    if (!W) return "";
    for (const { view, panel } of panels) update(panel, "hidden", view !== s.view);
    for (const { b, state } of presets) press(b, shows(s, state));
    if (!seen) {
      it.mark(s.picture, []);
      legend(pen(canvas, W, LINE), 0);
      tell(it.kind, "…");
      return it.intro.textContent;
    }
    const w = shares(s.mix), c = climb(seen.x[s.picture], s), label = it.facts.labels[s.picture];
    answers = answersOf(JSON.stringify(TURNED.map((k) => s[k])), false, () => judge(own, seen, s));
    const changed = answers.filter((a, i) => a !== before[i]).length;
    tell(it.kind, correct(answers));
    tell(it.rest, ` of ${total} held-out pictures classified correctly; as trained ${correct(before)}. ` +
      `${changed || "No"} answer${changed === 1 ? " differs" : "s differ"}.`);
    it.mark(s.picture, answers);
    const answer = answers[s.picture];
    tell(said, `It says: ${names[answer]}` + (answer === label ? ", and that is right."
      : `; it is: ${names[label]}.`) + ` Picture ${s.picture + 1} of ${total}.` + (s.view === "basins" ? ""
      : ` Position x = ${num(seen.x[s.picture], 3)}, height c = ${num(c, 3)}.`));
    const map = s.view === "basins", tall = map ? Math.min(innerWidth < 600 ? 0.6 * W : W, 380) : clamp(0.6 * W, 180, 280);
    const drawn = pen(canvas, W, tall + 12 + LINE * (own.C + 1));
    (map ? basins : staircase)(drawn, s, W, tall, c, w, quick);
    bars(drawn, terms(own, seen, s.picture * own.C, c, w), W, tall + 12, label, answer);
    return `${said.textContent} ${it.say.textContent}`;
  }

  function face({ g, style }, x, y, row) {
    g.imageSmoothingEnabled = false;
    g.drawImage(it.face(row), x, y, FACE, FACE);
    g.imageSmoothingEnabled = true;
    style("fg", 1);
    g.strokeRect(x, y, FACE, FACE);
  }

  function basins(drawn, s, W, tall, c, w, quick) {
    const { g, style, line, text, dot, outlined } = drawn, at = s.picture;
    const spare = W - tall, left = Math.max(spare / 2, spare > 80 ? 80 : 0); // room for the face beside it?
    const { three, ...map } = sliceOf(at, false, () => { // the three that were nearest as trained, so that it stays
      const own3 = terms(own, seen, at * own.C, climb(seen.x[at], trained), shares(trained.mix))
        .map((t, y) => [mean(t), y]).sort(([a], [b]) => b - a).slice(0, 3).map(([, y]) => y);
      return { three: own3, ...slice(own, seen.q.subarray(at * own.D, (at + 1) * own.D), own3, CELLS) };
    });
    const paper = rgb(drawn, "bg"), key = JSON.stringify([at, c, w, paper]);
    const picture = mapOf(key, quick, () => { // quickly: every second point
      const other = tones(paper, rgb(drawn, "dim"), 0.15, 0.4);
      const tints = names.map((_, y) => three.includes(y)
        ? tones(paper, rgb(drawn, HUES[three.indexOf(y)]), 0.2, 0.65) : other);
      const step = quick ? 2 : 1;
      return image(CELLS / step, CELLS / step, (x, y) => {
        const { best, lead } = won(own, map, step * (y * CELLS + x) * own.C, c, w);
        return tints[best][Math.floor((TONES - 1) * Math.min(4 * lead, 1))];
      });
    });
    const px = ([x, y]) => [left + (tall / 2) * (1 + x / map.span), (tall / 2) * (1 - y / map.span)];
    g.drawImage(picture, left, 0, tall, tall);
    g.save();
    g.beginPath();
    g.rect(left, 0, tall, tall);
    g.clip();
    three.forEach((y, i) => {
      style(HUES[i], 1);
      for (const corner of map.ends[i]) {
        line(...px(map.heads[i]), ...px(corner));
        dot(...px(corner), 3, HUES[i]);
      }
    });
    three.forEach((y, i) => {
      const [x, up] = px(map.heads[i]);
      dot(x, up, 6, "bg");
      dot(x, up, 5, HUES[i]);
      text(names[y], clamp(x, left + 34, left + tall - 34), up + (up > 24 ? -15 : 15), "center", "fg");
    });
    outlined(() => g.arc(...px([0, 0]), 6, 0, 7));
    g.restore();
    face(drawn, left < FACE ? left + 6 : 1, left < FACE ? 6 : 1, at);
  }

  function staircase(drawn, s, W, tall, c) {
    const { g, color, style, path, line, text, dot } = drawn, left = 34, right = 40, span = W - left - right;
    const low = Math.min(0, s.alpha) - 0.08, high = Math.max(1, s.alpha) + 0.08, foot = tall - 50, x = seen.x[s.picture];
    const px = (v) => left + v * span, py = (v) => 6 + ((high - v) / (high - low)) * (foot - 6);
    g.fillStyle = color("soft");
    g.fillRect(px(1 / 3), 6, span / 3, foot - 6);
    for (const v of [0, 0.5, 1]) {
      style("line", 1);
      line(left, py(v), W - right, py(v));
      text(num(v, 1), left - 5, py(v), "right");
      text(num(v, 1), px(v), tall - 8, "center");
    }
    style("l", 3);
    path(Array.from({ length: 301 }, (_, i) => [px(i / 300), py(climb(i / 300, s))]));
    g.stroke();
    own.prototypes.forEach((v, y) => { // the place of each class
      const chosen = y === it.facts.labels[s.picture];
      style(chosen ? "m" : "dim", chosen ? 3 : 1.5);
      line(W - right + 4, py(clamp(v, low, high)), W - right + (chosen ? 22 : 14), py(clamp(v, low, high)));
    });
    text("π", W - right + 28, py(own.prototypes[it.facts.labels[s.picture]]), "left", "fg");
    const counts = [0, 1].map((own) => seen.x.reduce((sums, v, row) => { // of all rows, and of this class
      if (!own || it.facts.labels[row] === it.facts.labels[s.picture]) sums[Math.min(Math.floor(BINS * v), BINS - 1)]++;
      return sums;
    }, new Float64Array(BINS)));
    const most = Math.max(...counts[0]);
    counts.forEach((sums, own) => sums.forEach((n, i) => {
      const h = (30 * n) / most;
      g.fillStyle = color(own ? "m" : "fill");
      g.fillRect(px(i / BINS), tall - 16 - h, span / BINS - 0.5, h);
    }));
    style("r", 1.5, [4, 3]);
    line(px(x), 6, px(x), tall - 16);
    line(px(x), py(c), W - right, py(c));
    dot(px(x), py(c), 5.5, "r");
    face(drawn, left + 6, 10, s.picture);
  }

  function legend({ g, color, text }, y) {
    let x = 0;
    for (const [i, name] of TERMS.entries()) {
      g.fillStyle = color(TINTS[i]);
      g.fillRect(x, y + 4, 10, 10);
      text(name, x + 14, y + 9);
      x += 34 + g.measureText(name).width;
    }
  }

  function bars(drawn, parts, W, y, label, answer) {
    const { g, color, style, line, text } = drawn, left = 78, right = 62, sums = parts.map((t) => t[0] + t[1] + t[2]);
    const reach = (sign) => Math.max(1e-9, ...parts.map((t) => t.reduce((sum, v) => sum + Math.max(sign * v, 0), 0)));
    const below = reach(-1), whole = below + reach(1), scale = (W - left - right) / whole, zero = left + below * scale;
    const digits = clamp(Math.ceil(2 - Math.log10(whole)), 2, 5);
    legend(drawn, y);
    parts.forEach((t, c) => {
      const middle = y + LINE * (c + 1.5), ends = [zero, zero];
      text(names[c], left - 6, middle, "right", c === label ? "fg" : "dim");
      t.forEach((v, i) => {
        const way = v < 0 ? 0 : 1, to = ends[way] + v * scale;
        g.fillStyle = color(TINTS[i]);
        g.fillRect(Math.min(ends[way], to), middle - 5, Math.abs(v) * scale, 10);
        ends[way] = to;
      });
      style("fg", c === answer ? 3 : 1.5);
      line(zero + sums[c] * scale, middle - 7, zero + sums[c] * scale, middle + 7);
      text(num(sums[c], digits), W, middle, "right", c === answer ? "fg" : "dim");
    });
    style("line", 1);
    line(zero, y + LINE, zero, y + LINE * (parts.length + 1));
  }

  return { nodes, canvas, paint, title: "Where the picture lies, and what each term says of the classes", valid: { picture: (v) => whole(v, 0, total) } };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
