// Chapter 4's network: what it sees in a picture, and how many of the held-out pictures it still knows, when rungs or
// plain compressors stand for its matrices. Workers rebuild and compute (squeezed.js); here is what one sees.

const TRAITS = ["form", "bits", "where", "picture"], DENSE = "dense", SLICE = 10; // rows a job
const FORMS = { dense: "Trained", L1: "L1", L2: "L2", L3: "L3", L4: "L4", L5: "L5", svd: "SVD", dct: "DCT",
  magnitude: "Pruned", quantised: "Rounded" };
const WHERE = { all: "All", twists: "Twists", pointwise: "1 × 1", "3 x 3": "3 × 3" };
const LINE = 17, FACE = 96, LEAST = -1, MOST = 5; // LEAST, MOST: the chart's bits a weight, powers of 2

function build(tools, ends) {
  const { model, later, write, button } = tools, names = model.get("names"), sizes = model.get("sizes");
  const total = model.get("rows"), side = model.get("side"), size = side * side;
  const dense = { form: DENSE, bits: 0, where: "" };
  const settingsOf = ({ form, bits, where }) => (form === DENSE ? dense : { form, bits, where });
  const keyOf = (settings) => Object.values(settings).join();

  // -- elements
  const group = (kind, ariaLabel, list) => el("div." + kind, { role: "group", ariaLabel }, ...list);
  const choice = (trait, all) => Object.entries(all).map(([name, word]) => {
    const value = trait === "bits" ? +name : name, note = el("small");
    return { value, note, b: button(() => write({ [trait]: value }), word, note) };
  });
  const intro = el("p.mw-note"), load = loader(tools, model, start, fail), canvas = el("canvas");
  const seen = el("p.mw-read"), kind = el("strong"), rest = el("span");
  const bar = el("progress", { max: total, ariaLabel: "Held-out pictures read" });
  const words = (list) => Object.fromEntries(list.map((each) => [each, WHERE[each] ?? each]));
  const forms = choice("form", FORMS), bits = choice("bits", words(Object.keys(sizes.svd)));
  const where = choice("where", words(["all", ...model.get("parts")]));
  const thumbs = group("mw-thumbs", "Held-out pictures", []);
  const wrong = button(() => write({ picture: nextWrong(known.get(shown) ?? [], facts.labels, model.get("picture")) }),
    "One it gets wrong");
  const body = el("div", { hidden: true }, el("p.mw-say", {}, kind, rest), bar,
    group("mw-five", "What stands for the matrices", forms.map((f) => f.b)),
    group("mw-third", "Bits a weight, at most", bits.map((f) => f.b)),
    group("mw-quarter", "Which layers", where.map((f) => f.b)), thumbs, group("mw-pair", "Further pictures", [wrong]));
  const nodes = [intro, load, el("div.mw-grid", {}, el("div.mw-plot", {}, canvas, seen), body)];

  // -- what the workers say
  const known = new Map(), logits = new Map(); // the classes of all held-out pictures; the logits of one; by settings
  let workers = null, facts = null, pixels = null, choices = [], failure = "";
  let judged = "", done = 0, busy = false, shown = "";

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
    failure = `This browser cannot run the network here: ${why} The text below says what it would do.`;
    later();
  }

  const rowOf = (row) => pixels.subarray(row * size, (row + 1) * size);
  const rightly = (key) => known.get(key).filter((c, i) => c === facts.labels[i]).length / total;

  function ask(settings, row) { // the picture first; then, where they are new, all that is held out; as trained before all
    const open = [settings, dense].find((each) => !logits.has(keyOf(each) + row));
    if (open && !busy) { // one at a time: what a reader passes by is not computed
      busy = true;
      workers.ask({ settings: open, rows: [row], read: true }, true).then((reply) => {
        busy = false;
        if (logits.size > 999) logits.clear();
        logits.set(keyOf(open) + row, reply.logits);
        later();
      });
    }
    const next = known.has(keyOf(dense)) ? settings : dense, key = keyOf(next);
    if (known.has(key)) {
      if (judged !== key) workers.drop();
      [judged, done] = [key, total];
    }
    if (key === judged) return;
    workers.drop();
    [judged, done] = [key, 0];
    const found = new Array(total);
    for (let from = 0; from < total; from += SLICE) {
      const rows = Array.from({ length: Math.min(SLICE, total - from) }, (_, i) => from + i);
      workers.ask({ settings: next, rows }).then(({ classes }) => {
        if (judged !== key) return;
        classes.forEach((c, i) => { found[rows[i]] = c; });
        done += rows.length;
        if (done === total) known.set(key, found);
        later();
      });
    }
  }

  // -- picture
  const share = (v) => num(100 * v, 1) + "\u202f%";
  const bitsOf = ({ form, bits: most, where: part }) => {
    const [count, weights] = sizes[form][most][part];
    return count / weights;
  };

  function paint(s) {
    const W = canvas.clientWidth;
    if (!W) return "";
    const settings = settingsOf(s), first = keyOf(dense);
    shown = keyOf(settings);
    update(intro, "textContent", failure || (workers ? ""
      : "Chapter 1’s network. Once loaded, it runs in this page, on your own device."));
    if (workers && !failure) ask(settings, s.picture);
    for (const [trait, list] of Object.entries({ form: forms, bits, where })) for (const { b, value, note } of list) {
      const key = keyOf(settingsOf({ ...s, [trait]: value }));
      press(b, s[trait] === value && (trait === "form" || s.form !== DENSE));
      update(b, "disabled", trait !== "form" && s.form === DENSE);
      update(note, "textContent", (trait === "bits" ? "bits, " : "") + (known.has(key) ? pct(rightly(key)) : "–"));
    }
    for (const { b, row } of choices) press(b, row === s.picture);
    draw(W, s, settings);
    if (!workers || failure) return intro.textContent;
    const there = known.has(shown);
    bar.value = there ? total : done;
    bar.classList.toggle("done", there);
    update(kind, "textContent", there ? share(rightly(shown)) : "…");
    let told = ` of ${total} held-out pictures classified correctly`;
    if (s.form === DENSE) told += ", with all matrices as they were trained.";
    else {
      const [count, weights, layers] = sizes[s.form][s.bits][s.where];
      const there = Object.values(facts.kinds).filter((k) => s.where === "all" || s.where === k).length;
      told += `${known.has(first) ? `; as trained ${share(rightly(first))}` : ""}. ${FORMS[s.form]} stands for ` +
        `${layers} of the ${there} matrices: ${num(count / weights, 1)} bits a weight, ` +
        `${num((32 * weights) / count, 1)} times smaller.`;
    }
    update(rest, "textContent", told);
    const own = logits.get(shown + s.picture), label = facts.labels[s.picture];
    if (!own) {
      update(seen, "textContent", ""); // what stood there was of other matrices
      return "";
    }
    const p = softmax(own), top = p.indexOf(Math.max(...p));
    update(seen, "textContent", `It sees: ${names[top]}, ${pct(p[top])}` + (top === label ? ", and that is right."
      : `; it is: ${names[label]}, to which it gives ${pct(p[label])}.`));
    return `${seen.textContent} ${kind.textContent}${rest.textContent}`;
  }

  function draw(W, s, settings) {
    const left = 42, right = 8, top = workers ? names.length * LINE + 30 : 20, foot = top + 150, H = foot + 34;
    const { g, color, style, line, text, dot } = pen(canvas, W, H), label = facts?.labels[s.picture];
    const own = logits.get(shown + s.picture), before = logits.get(keyOf(dense) + s.picture);
    if (workers) {
      const from = FACE + 84;
      g.imageSmoothingEnabled = false;
      g.drawImage(grey(rowOf(s.picture), side), 0, 4, FACE, FACE);
      const bars = [[own, (c) => (c === label ? "m" : "l"), 0, 9], [before, () => "dim", 10, 3]];
      names.forEach((name, c) => text(name, from - 6, c * LINE + 8, "right", c === label ? "fg" : "dim"));
      for (const [found, hue, down, high] of bars) if (found) softmax(found).forEach((p, c) => {
        g.fillStyle = color(hue(c));
        g.fillRect(from, c * LINE + 2 + down, Math.max(1, p * (W - from - 44)), high);
        if (!down) text(pct(p), from + p * (W - from - 44) + 6, c * LINE + 8);
      });
    }
    const px = (b) => left + ((Math.log2(b) - LEAST) / (MOST - LEAST)) * (W - left - right - 20);
    const py = (v) => foot - v * (foot - top);
    style("line", 1);
    for (const v of [0, 0.5, 1]) {
      line(left, py(v), W - right, py(v));
      text(pct(v), left - 4, py(v), "right");
    }
    for (let b = LEAST; b <= MOST; b++) text(String(2 ** b), px(2 ** b), foot + 12, "center");
    text("bits a weight" + (s.where === "all" ? "" : `, ${WHERE[s.where] ?? s.where} alone`), left, foot + 27);
    text("held-out pictures classified correctly", left, top - 12);
    if (known.has(keyOf(dense))) {
      style("dim", 1, [4, 4]);
      line(left, py(rightly(keyOf(dense))), W - right, py(rightly(keyOf(dense))));
      dot(px(32), py(rightly(keyOf(dense))), 4.5, "fg");
    }
    const points = Object.keys(sizes).flatMap((form) => Object.keys(sizes[form]).map((most) =>
      ({ form, bits: +most, where: s.where }))).filter((p) => known.has(keyOf(p)));
    const places = [], chosen = (p) => keyOf(p) === shown;
    for (const p of points.sort((a, b) => chosen(b) - chosen(a))) {
      const [x, y] = [px(bitsOf(p)), py(rightly(keyOf(p)))];
      dot(x, y, chosen(p) ? 6 : 4, p.form[0] === "L" ? "l" : "r");
      if (places.some(([u, v]) => Math.abs(u - x) < 46 && Math.abs(v - y) < 14)) continue; // no name over another
      places.push([x, y]);
      text(FORMS[p.form], clamp(x, left + 24, W - 30), y - 11, "center", chosen(p) ? "fg" : "dim");
    }
    if (!known.size) text(workers ? "Counting …" : "Each form that you try leaves its dot here.", left + 8, py(0.25));
  }

  ends.push(() => workers?.close());
  const from = (list) => (v) => list.some(({ value }) => value === v);
  const picture = (v) => Number.isInteger(v) && v >= 0 && v < total;
  const valid = { form: from(forms), bits: from(bits), where: from(where), picture };
  return { nodes, canvas, paint, title: "What the squeezed network sees, and how often it is right", valid };
}

export default {
  render: (view) => {
    const ends = [];
    ends.push(mount(view, TRAITS, null, (tools) => build(tools, ends)));
    return () => ends.forEach((end) => end());
  },
};
