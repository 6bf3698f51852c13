// Chapter 1's network: what its blocks let pass of one picture, and how many of the held-out pictures it still knows,
// at the omega, alpha and xor weight that the reader sets. Workers compute (mobiusnet.js); here is what one sees.

const NUMBERS = ["omega", "alpha", "xor_weight"], SIGNS = ["ω", "α", "v"];
const TRAITS = [...NUMBERS, "block", "picture", "drawn"];
const SLIDERS = [
  ["omega", null, "ω", "frequency", 0, 6],
  ["alpha", null, "α", "sharpness", 0, 6],
  ["xor_weight", null, "v", "xor weight", -6, 6],
];
const DRAWN = -1, ALL = -1, SLICE = 5; // rows a job
const RAMP = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]]; // after cividis
const PATHS = [["l", []], ["m", [4, 3]], ["r", [7, 2, 2, 2]]];

const INKS = Array.from({ length: 256 }, (_, n) => {
  const i = Math.floor(n / 64);
  return ink(...RAMP[i].map((c, k) => c + (n / 64 - i) * (RAMP[i + 1][k] - c)));
});

function mosaic({ tiles, H, W }) {
  const wide = Math.ceil(Math.sqrt(tiles.length)), high = Math.ceil(tiles.length / wide);
  return image(wide * W, high * H, (x, y) => {
    const tile = tiles[Math.floor(y / H) * wide + Math.floor(x / W)];
    return tile ? INKS[Math.floor(255.9 * tile[(y % H) * W + (x % W)])] : ink(0, 0, 0);
  });
}

// One slider for a block, or for all: the lists of the model, seen as the number of what is chosen.
function facade(model) {
  const chosen = () => model.get("block");
  return {
    get: (k) => {
      const v = model.get(k);
      return NUMBERS.includes(k) ? (chosen() === ALL ? mean(v) : v[chosen()]) : v;
    },
    set: (k, v) => model.set(k, NUMBERS.includes(k) && !Array.isArray(v)
      ? model.get(k).map((old, i) => (chosen() === ALL || i === chosen() ? v : old)) : v),
    on: (...a) => model.on(...a),
    off: (...a) => model.off(...a),
    save_changes: () => model.save_changes(),
    real: model,
    widget_manager: model.widget_manager,
  };
}

const readable = (s, trait) => num(trait === "xor_weight" ? sigmoid(s[trait]) : s[trait]);

function build(tools, real, ends) {
  const { model, on, later, write, button, slider, arrows } = tools;
  const names = model.get("names"), trained = model.get("trained"), count = trained.omega.length;
  const total = model.get("rows"), side = model.get("side"), size = side * side;
  const settings = () => Object.fromEntries(NUMBERS.map((k) => [k, real.get(k)]));
  const keyOf = (state) => NUMBERS.map((k) => state[k].join()).join(";");
  const same = ({ state }) => keyOf(state) === keyOf(settings());

  // -- elements
  const group = (kind, ariaLabel, list) => el("div." + kind, { role: "group", ariaLabel }, ...list);
  const intro = el("p.mw-note"), load = loader(tools, real, start, fail);
  const blocks = Array.from({ length: count + 1 }, (_, i) => button(() => write({ block: i - 1 }), i ? i - 1 : "All"));
  const off = button(() => {
    const flat = model.get("omega") === 0, own = model.get("block");
    write({ omega: real.get("omega").map((v, i) => (own !== ALL && own !== i ? v : flat ? trained.omega[i] : 0)) });
  }, "Waves off");
  const presets = [
    { name: "The trained lens", note: "reset", state: trained },
    { name: "The author\u2019s table", note: "learned values", state: model.get("table") },
  ];
  const stops = model.get("tour");
  for (const p of [...presets, ...stops]) // a stop of the tour chooses the block that it turns
    p.b = button(() => write({ ...p.state, block: p.block ?? model.get("block") }), p.name, el("small", {}, p.note));
  const canvas = el("canvas"), kind = el("strong"), rest = el("span"), stop = el("p.mw-note"), seen = el("p.mw-read");
  const bar = el("progress", { max: total, ariaLabel: "Held-out pictures read" });
  const thumbs = group("mw-thumbs", "Held-out pictures", []), pad = el("canvas.mw-pad", { width: side, height: side });
  const wrong = button(() => { seek(model.get("picture")); later(); });
  const body = el("div", { hidden: true },
    el("div.mw-grid", {},
      el("div", {}, el("p.mw-say", {}, kind, rest), bar,
        group("mw-blocks", "Blocks that the sliders turn", blocks), ...SLIDERS.map(slider),
        group("mw-pair", "Settings", [off, ...presets.map((p) => p.b)]),
        group("mw-tour", "Tour", stops.map((p) => p.b)), stop),
      el("div", {}, thumbs, group("mw-pair", "Further pictures", [wrong]),
        el("details", {}, el("summary", {}, "Draw one"),
          el("p.mw-note", {}, "With pointer, finger or arrow keys, white on black."),
          pad, button(() => write({ drawn: [], picture: 0 }), "Clear")))));
  const nodes = [intro, load, canvas, seen, body];

  // -- what the workers say
  const known = new Map(), padOf = keeper(); // known: the classes of all held-out pictures, by settings
  let workers = null, facts = null, pixels = null, choices = [], failure = "";
  let asked = "", busy = false, reply = null, tiles = [], judged = "", classes = [], done = 0, right = 0;
  let seeking = null; // the picture from which a wrong one is looked for, as long as none is found

  function start(pack, its) {
    facts = its;
    pixels = new Uint8Array(pack.files.pictures);
    workers = pool(pack, fail);
    choices = thumbnails(tools, names, facts.labels, (row) => grey(rowOf(row), side));
    thumbs.append(...choices.map(({ b }) => b));
    body.hidden = false;
    later();
  }

  function fail(why) {
    failure = `This browser cannot run the network here: ${why} The figure below shows what it would do.`;
    later();
  }

  const rowOf = (row) => pixels.subarray(row * size, (row + 1) * size);
  const drawing = () => { const v = real.get("drawn"); return v.length ? v : new Array(size).fill(0); };
  const chosenPicture = () => (real.get("picture") === DRAWN ? drawing() : rowOf(real.get("picture")));

  function seek(from) {
    const row = nextWrong(classes, facts.labels, from);
    seeking = row === from && done < total ? from : null;
    if (row !== from) write({ picture: row });
  }

  function ask() { // the picture first; then, where the settings are new, all that is held out
    const own = settings(), key = keyOf(own), row = real.get("picture");
    const wanted = key + row + (row === DRAWN ? real.get("drawn") : "");
    if (wanted !== asked && !busy) { // one at a time: what a drag passes by is not computed
      busy = true;
      asked = wanted;
      const job = { settings: own, rows: [row], drawn: row === DRAWN ? drawing() : null, read: true };
      workers.ask(job, true).then((r) => {
        busy = false;
        reply = r;
        tiles = r.blocks.map(mosaic);
        later();
      });
    }
    if (key === judged) return;
    judged = key;
    workers.drop();
    [done, right] = [0, 0];
    if (known.has(key)) {
      classes = known.get(key);
      done = total;
      right = classes.filter((c, i) => c === facts.labels[i]).length;
      return;
    }
    const found = classes = new Array(total);
    for (let from = 0; from < total; from += SLICE) {
      const rows = Array.from({ length: Math.min(SLICE, total - from) }, (_, i) => from + i);
      workers.ask({ settings: own, rows }).then(({ classes: those }) => {
        if (judged !== key) return;
        those.forEach((c, i) => { found[rows[i]] = c; right += c === facts.labels[rows[i]]; });
        done += rows.length;
        if (done === total) known.set(key, found);
        later();
      });
    }
  }

  // -- picture
  function paint(s) {
    const W = canvas.clientWidth;
    if (!W) return "";
    if (workers && !failure) ask();
    if (seeking !== null) seeking === s.picture ? seek(seeking) : seeking = null;
    update(wrong, "textContent", seeking === null ? "One it gets wrong" : "Searching …");
    update(intro, "textContent", failure || (workers ? "" : `The ${count} blocks of the trained network, each with ` +
      "its ω, α and xor weight v. Once loaded, it runs in this page, on your own device."));
    blocks.forEach((b, i) => press(b, s.block === i - 1));
    press(off, s.omega === 0);
    for (const p of [...presets, ...stops]) press(p.b, same(p));
    for (const { b, row } of choices) press(b, row === s.picture);
    const here = stops.find(same);
    update(stop, "textContent", here ? `${here.say} ${here.ask}` : "Four settings worth seeing; or turn the sliders.");
    padOf(String(s.drawn), false, () => { pad.getContext("2d").drawImage(grey(drawing(), side), 0, 0); });
    draw(W, s);
    if (!workers || failure) return intro.textContent;
    bar.value = done;
    bar.classList.toggle("done", done === total);
    const start = known.get(keyOf(trained));
    const share = (n) => num(100 * n, 1) + "\u202f%";
    const whole = done === total, soFar = done ? share(right / done) : "…";
    update(kind, "textContent", whole ? soFar : "");
    rest.classList.toggle("mw-note", !whole);
    update(rest, "textContent", (whole ? ` of ${total} held-out pictures classified correctly`
      : `Classified correctly so far: ${soFar} (${done} of ${total} held-out pictures judged)`) +
      (start ? `; the trained lens ${share(start.filter((c, i) => c === facts.labels[i]).length / total)}.` : "."));
    if (!reply) return "";
    const p = softmax(reply.logits), top = p.indexOf(Math.max(...p));
    const label = s.picture === DRAWN ? null : facts.labels[s.picture];
    update(seen, "textContent", `It sees: ${names[top]}, ${pct(p[top])}` + (label === null ? "; you drew it."
      : top === label ? ", and that is right." : `; it is: ${names[label]}, to which it gives ${pct(p[label])}.`));
    return `${seen.textContent} ${kind.textContent}${rest.textContent}`;
  }

  function draw(W, s) {
    const gap = 8, columns = W >= 560 ? count + 1 : 4, tile = (W - gap * (columns - 1)) / columns;
    const face = workers ? tile : 0, wave = 0.45 * face, head = 16;
    const narrow = tile < 100, cell = head + face + 4 + wave + (narrow ? 44 : 30); // α and v side by side are 80 wide
    const rows = Math.ceil((count + 1) / columns);
    const line = 17, top = rows * (cell + gap), H = top + (workers ? names.length * line : 0);
    const { g, color, style, text } = pen(canvas, W, H);
    g.imageSmoothingEnabled = false;
    for (let i = workers ? 0 : 1; i <= count; i++) {
      const x = (i % columns) * (tile + gap), y = Math.floor(i / columns) * (cell + gap), b = i - 1, own = settings();
      text(i ? `block ${b}` : "picture", x, y + 7, "left", i && s.block === b ? "l" : "fg");
      const shown = workers && (i ? tiles[b] : grey(chosenPicture(), side));
      if (shown) g.drawImage(shown, x, y + head, face, face);
      style(i && s.block === b ? "l" : "line", i && s.block === b ? 2 : 1);
      g.strokeRect(x + 1, y + head, tile - 2, face);
      if (!i) continue;
      const alpha = `α ${num(own.alpha[b])}`, v = `v ${num(sigmoid(own.xor_weight[b]))}`;
      const r = reply?.blocks[b], low = y + head + face + 4 + wave;
      const told = r ? [`open ${pct(r.open)}`, `${num(r.low)}–${num(r.high)}`]
        : [`ω ${num(own.omega[b])}`, ...(narrow ? [alpha, v] : [`${alpha} ${v}`])];
      told.forEach((line, n) => text(line, x, low + 9 + 14 * n));
      if (r) for (const [k, [name, dash]] of PATHS.entries()) {
        style(name, 1.5, dash);
        g.beginPath();
        r.curves.forEach((v, n) => g.lineTo(x + (n / (r.curves.length - 1)) * tile, low - v[k] * wave));
        g.stroke();
      }
    }
    if (!workers || !reply) return;
    const p = softmax(reply.logits), left = 78, label = s.picture === DRAWN ? -1 : facts.labels[s.picture];
    names.forEach((name, c) => {
      const y = top + c * line + line / 2;
      text(name, left - 6, y, "right", c === label ? "fg" : "dim");
      g.fillStyle = color(c === label ? "m" : "l");
      g.fillRect(left, y - 5, Math.max(1, p[c] * (W - left - 48)), 10);
      text(pct(p[c]), left + p[c] * (W - left - 48) + 6, y);
    });
  }

  // -- drawing one's own
  let brush = null;
  function stroke(x, y) {
    const v = [...drawing()];
    for (let n = 0; n < size; n++) {
      const near = 1.6 - Math.hypot((n % side) - x, Math.floor(n / side) - y);
      if (near > 0) v[n] = Math.max(v[n], Math.round(255 * Math.min(near, 1)));
    }
    write({ drawn: v, picture: DRAWN });
  }
  const spot = (e) => {
    const box = pad.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top].map((v) => (side * v) / box.width - 0.5);
  };
  on(pad, "pointerdown", (e) => { pad.setPointerCapture(e.pointerId); brush = spot(e); stroke(...brush); });
  on(pad, "pointermove", (e) => {
    if (!brush || !e.buttons) return;
    const to = spot(e), steps = Math.ceil(Math.hypot(to[0] - brush[0], to[1] - brush[1]));
    for (let n = 1; n <= steps; n++) stroke(...brush.map((v, k) => v + ((to[k] - v) * n) / steps));
    brush = to;
  });
  arrows(pad, (d) => {
    const [x, y] = brush ?? [side / 2, side / 2];
    brush = d ? [x + d[0], y - d[1]].map((v) => clamp(v, 0, side - 1)) : null;
    if (brush) stroke(...brush);
  });
  pad.ariaLabel = "A garment of your own; arrow keys draw";
  ends.push(() => workers?.close());
  const whole = (v, least, end) => Number.isInteger(v) && v >= least && v < end;
  const valid = {
    block: (v) => whole(v, ALL, count), picture: (v) => whole(v, DRAWN, total),
    drawn: (v) => [0, size].includes(v.length) && v.every((each) => whole(each, 0, 256)),
  };
  return { nodes, canvas, paint, title: "The picture on its way through the blocks, and the ten classes", valid };
}

export default {
  render: ({ model, el: host }) => {
    const ends = [];
    ends.push(mount({ model: facade(model), el: host }, TRAITS, readable, (tools) => build(tools, model, ends)));
    return () => ends.forEach((end) => end());
  },
};
