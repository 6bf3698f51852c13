// Chapter 1's network: what its blocks let pass of one picture, and how many of the held-out pictures it still knows,
// at the omega, alpha and xor weight that the reader sets. Workers compute (mobiusnet.js); here is what one sees.

const NUMBERS = ["omega", "alpha", "xor_weight"];
const TRAITS = [...NUMBERS, "block", "picture", "drawn"];
const SLIDERS = [
  ["omega", null, "ω", "frequency", 0, 6],
  ["alpha", null, "α", "sharpness", 0, 6],
  ["xor_weight", null, "v", "xor weight", -6, 6],
];
const DRAWN = -1, ALL = -1;
const PATHS = [["l", []], ["m", [4, 3]], ["r", [7, 2, 2, 2]]];

// One slider for a block, or for all: the lists of the model, seen as the number of what is chosen.
const chosen = (model, i) => [i, ALL].includes(model.get("block"));
const turned = (model, k) => model.get(k).filter((_, i) => chosen(model, i));

function facade(model) {
  return {
    get: (k) => (NUMBERS.includes(k) ? mean(turned(model, k)) : model.get(k)),
    set: (k, v) => model.set(k, NUMBERS.includes(k) && !Array.isArray(v)
      ? model.get(k).map((old, i) => (chosen(model, i) ? v : old)) : v),
    on: (...a) => model.on(...a),
    off: (...a) => model.off(...a),
    save_changes: () => model.save_changes(),
    real: model,
    widget_manager: model.widget_manager,
  };
}

function readable(model, trait) {
  const v = turned(model, trait).map((own) => (trait === "xor_weight" ? sigmoid(own) : own));
  return (v.every((own) => own === v[0]) ? "" : "mean ") + num(mean(v));
}

function build(tools) {
  const { model, on, later, write, button, slider, arrows, wide, setting } = tools, { real } = model;
  const trained = model.get("trained"), count = trained.omega.length, it = gallery(tools, real, {
    before: `The ${count} blocks of the trained network, each with its ω, α and xor weight v.`,
    instead: "The figure below shows what it would do.",
  });
  const { total, side, size } = it, judge = jury(it, later);
  const settings = () => Object.fromEntries(NUMBERS.map((k) => [k, real.get(k)]));
  const keyOf = (state) => NUMBERS.map((k) => state[k].join()).join(";");
  const same = ({ state }) => keyOf(state) === keyOf(settings());

  // -- elements
  const blocks = Array.from({ length: count + 1 }, (_, i) => button(() => write({ block: i - 1 }), i ? i - 1 : "All"));
  const which = el("small"), flat = () => turned(real, "omega").every((v) => v === 0);
  const off = button(() => { // and on again
    const to = flat() ? trained.omega : trained.omega.map(() => 0);
    write({ omega: real.get("omega").map((v, i) => (chosen(real, i) ? to[i] : v)) });
  }, "ω = 0", which);
  const presets = [
    setting({ name: "The trained lens", note: "reset", state: trained }),
    setting({ name: "The author\u2019s table", note: "learned values", state: model.get("table") }),
  ];
  const stops = model.get("tour").map((p) => ({ ...p, // a stop chooses the block that it turns
    b: button(() => write({ ...p.state, block: p.block ?? model.get("block") }), p.name, el("small", {}, p.note)) }));
  const canvas = el("canvas"), stop = el("p.mw-note"), seen = el("p.mw-read");
  const pad = el("canvas.mw-pad", { width: side, height: side });
  it.body.append(el("div.mw-grid", {},
    el("div", {}, it.say, it.bar,
      group("blocks", "Blocks that the sliders turn", blocks), ...SLIDERS.map(slider),
      group("pair", "Settings", [off, ...presets]), group("tour", "Tour", stops), stop),
    el("div", {}, it.thumbs, it.further,
      el("details", {}, el("summary", {}, "Draw one"),
        el("p.mw-note", {}, "With pointer, finger or arrow keys, white on black."),
        pad, button(() => write({ drawn: [], picture: 0 }), "Clear")))));
  const nodes = [it.intro, it.load, canvas, seen, it.body];

  // -- what the workers say
  const padOf = keeper(), faceOf = keeper(), drawnOf = keeper(), tiles = trained.omega.map(() => el("canvas"));
  let asked = "", reply = null, replies = 0;

  const drawing = () => { const v = real.get("drawn"); return v.length ? v : new Array(size).fill(0); };
  const label = (s) => (s.picture === DRAWN ? -1 : it.facts.labels[s.picture]);
  const onShow = () => (real.get("picture") === DRAWN ? drawing() : it.row(real.get("picture")));

  function ask(key, quick) { // the picture first; then, where the settings are new, all that is held out
    const own = settings(), row = real.get("picture"), wanted = key + row + (row === DRAWN ? real.get("drawn") : "");
    if (wanted !== asked && judge.ask({ settings: own, rows: [row], drawn: row === DRAWN ? drawing() : null }, (r) => {
      reply = r;
      replies++;
      r.blocks.forEach(({ wide, bytes }, i) => {
        const c = tiles[i], high = bytes.length / 4 / wide;
        if (c.width !== wide) Object.assign(c, { width: wide, height: high });
        c.getContext("2d").putImageData(new ImageData(bytes, wide, high), 0, 0);
      });
    })) asked = wanted;
    judge.see(key, own, quick);
  }

  // -- picture
  function paint(s, now, quick) {
    const W = wide(canvas), key = keyOf(settings()), running = it.workers && !it.failure;
    if (!W) return "";
    if (running) ask(key, quick);
    drawnOf([W, finer, shade, devicePixelRatio, !!it.workers, replies || key, s.block, s.picture, s.drawn] + "", false,
      () => draw(W, s)); // once there are replies, it shows nothing else of the settings
    padOf(String(s.drawn), false, () => { pad.getContext("2d").drawImage(grey(drawing(), side), 0, 0); });
    it.mark(s.picture, judge.of(key));
    blocks.forEach((b, i) => press(b, s.block === i - 1));
    press(off, flat());
    tell(which, s.block === ALL ? "in all blocks" : `in block ${s.block}`);
    for (const p of [...presets, ...stops]) press(p.b, same(p));
    const here = stops.find(same);
    tell(stop, here ? `${here.say} ${here.ask}` : "Four settings worth seeing; or turn the sliders.");
    if (!running) return it.intro.textContent;
    const start = judge.known.get(keyOf(trained));
    judge.tell(key, start ? `; the trained lens ${share(it.right(start) / total)}.` : ".");
    if (!reply) return "";
    tell(seen, judge.says(softmax(reply.logits), label(s)));
    return `${seen.textContent} ${it.say.textContent}`;
  }

  function draw(W, s) {
    const first = it.workers ? 0 : 1; // the picture comes with the network; until then the blocks begin the row
    const gap = 8, columns = (W >= 560 ? count + 1 : 4) - first, tile = (W - gap * (columns - 1)) / columns;
    const face = it.workers ? tile : 0, wave = 0.45 * face, head = 16;
    const narrow = tile < 100, cell = head + face + 4 + wave + (narrow ? 44 : 30); // α and v side by side are 80 wide
    const rows = Math.ceil((count + 1 - first) / columns);
    const top = rows * (cell + gap), pens = pen(canvas, W, top + (it.workers ? it.names.length * LINE : 0));
    const { g, style, text } = pens;
    g.imageSmoothingEnabled = false;
    for (let i = first; i <= count; i++) {
      const x = ((i - first) % columns) * (tile + gap), y = Math.floor((i - first) / columns) * (cell + gap);
      const b = i - 1, own = settings();
      text(i ? `block ${b}` : "picture", x, y + 7, "left", i && s.block === b ? "l" : "fg");
      const shown = i ? reply && tiles[b] : it.workers && faceOf(s.picture + ":" + s.drawn, false, () => grey(onShow(), side));
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
    if (reply) judge.bars(pens, softmax(reply.logits), label(s), 78, W, top);
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
  const valid = {
    block: (v) => whole(v, ALL, count), picture: (v) => whole(v, DRAWN, total),
    drawn: (v) => [0, size].includes(v.length) && v.every((each) => whole(each, 0, 256)),
  };
  return { nodes, canvas, paint, title: "The picture on its way through the blocks, and the ten classes", valid };
}

export default {
  render: ({ model, el: host }) => mount({ model: facade(model), el: host }, TRAITS, (_, k) => readable(model, k), build),
};
