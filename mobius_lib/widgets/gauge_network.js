// Chapter 4's network: what it sees in a picture, and how many of the held-out pictures it still knows, when rungs or
// plain compressors stand for its matrices. Workers rebuild and compute (squeezed.js); here is what one sees.

const TRAITS = ["form", "bits", "where", "picture"], DENSE = "dense";
const FORMS = { dense: "Trained", L1: "L1", L2: "L2", L3: "L3", L4: "L4", L5: "L5", svd: "SVD", dct: "DCT",
  magnitude: "Magnitude", quantised: "" };
const nameOf = ({ form, bits }) => FORMS[form] || `${bits - 1} bit${bits > 2 ? "s" : ""}`; // one more goes to their ranges
const WHERE = { all: "All", twists: "Twists", pointwise: "1 × 1", "3 x 3": "3 × 3" };
const FACE = 96, LEAST = -1, MOST = 5; // LEAST, MOST: the chart's bits a weight, powers of 2

function build(tools) {
  const { model, later, write, button, wide } = tools, sizes = model.get("sizes"), it = gallery(tools, model, {
    before: "Chapter 1’s network.", instead: "The text below says what it would do.",
  });
  const { names, total } = it, judge = jury(it, later), dense = { form: DENSE, bits: 0, where: "" };
  const settingsOf = ({ form, bits, where }) => (form === DENSE ? dense : { form, bits, where });
  const keyOf = (settings) => Object.values(settings).join(), first = keyOf(dense);

  // -- elements
  const choice = (trait, all) => Object.entries(all).map(([name, word]) => {
    const value = trait === "bits" ? +name : name, note = el("small");
    return { value, note, b: button(() => write({ [trait]: value }), word, note) };
  });
  const canvas = el("canvas"), seen = el("p.mw-read");
  const words = (list) => Object.fromEntries(list.map((each) => [each, WHERE[each] ?? each]));
  const forms = choice("form", FORMS), bits = choice("bits", words(Object.keys(sizes.svd)));
  const where = choice("where", words(["all", ...model.get("parts")]));
  const named = (kind, name, all) => [el("p.mw-note", {}, name), group(kind, name, all)];
  it.body.append(it.say, it.bar, ...named("five", "What stands for the matrices", forms),
    ...named("third", "Bits a weight, at most", bits), ...named("quarter", "Which layers", where), it.thumbs, it.further,
    el("p.mw-note", {}, "Bars: the share that the network gives each class, that of the true one in green; the thin grey " +
      "bar below each is what it gave as trained. Dots: the share of held-out pictures classified correctly; blue, the " +
      "rungs; orange, the plain compressors. The dot at 32 bits and the dashed line are the network as trained. A button " +
      "shows its share once you have tried it."));
  const nodes = [it.intro, it.load, el("div.mw-grid", {}, el("div.mw-plot", {}, canvas, seen), it.body)];

  // -- what the workers say
  const logits = new Map(), drawnOf = keeper(); // the logits of a picture, by settings and row
  let answers = 0;
  let shown = "";

  const rightly = (key) => it.right(judge.known.get(key)) / total;

  function ask(settings, row) { // the picture first; then, where they are new, all that is held out; as trained before all
    const open = [settings, dense].find((each) => !logits.has(keyOf(each) + row));
    if (open) judge.ask({ settings: open, rows: [row] }, (reply) => {
      if (logits.size > 999) logits.clear();
      logits.set(keyOf(open) + row, reply.logits);
      answers++;
    });
    const next = judge.known.has(first) ? settings : dense;
    judge.see(keyOf(next), next);
  }

  // -- picture
  const bitsOf = ({ form, bits: most, where: part }) => {
    const [count, weights] = sizes[form][most][part];
    return count / weights;
  };

  function paint(s) {
    const W = wide(canvas), settings = settingsOf(s);
    if (!W) return "";
    shown = keyOf(settings);
    if (it.workers && !it.failure) ask(settings, s.picture);
    drawnOf([W, finer, shade, devicePixelRatio, shown, s.where, s.picture, judge.known.size, answers] + "", false,
      () => draw(W, s, settings));
    it.mark(s.picture, judge.of(shown));
    for (const [trait, list] of Object.entries({ form: forms, bits, where })) for (const { b, value, note } of list) {
      const key = keyOf(settingsOf({ ...s, [trait]: value }));
      press(b, s[trait] === value && (trait === "form" || s.form !== DENSE));
      update(b, "disabled", trait !== "form" && s.form === DENSE);
      if (trait === "form") update(b.firstChild, "data", (FORMS[value] ? "" : "Rounded, ") + nameOf({ form: value, bits: s.bits }));
      tell(note, (trait === "bits" ? "bits, " : "") + (judge.known.has(key) ? pct(rightly(key)) : "–"));
    }
    if (!it.workers || it.failure) return it.intro.textContent;
    let more = ", with all matrices as they were trained.";
    if (s.form !== DENSE) {
      const [count, weights, layers] = sizes[s.form][s.bits][s.where];
      const there = Object.values(it.facts.kinds).filter((k) => s.where === "all" || s.where === k).length;
      more = `${judge.known.has(first) ? `; as trained ${share(rightly(first))}` : ""}. With ${layers} of the ${there} ` +
        `matrices replaced (${nameOf(s)}): ${num(count / weights, 1)} bits a weight, ` +
        `${num((32 * weights) / count, 1)} times smaller.`;
    }
    judge.tell(shown, more);
    const own = logits.get(shown + s.picture), label = it.facts.labels[s.picture];
    if (!own) {
      tell(seen, ""); // what stood there was of other matrices
      return "";
    }
    tell(seen, judge.says(softmax(own), label));
    return `${seen.textContent} ${it.say.textContent}`;
  }

  function draw(W, s, settings) {
    const left = 42, right = 8, top = it.workers ? names.length * LINE + 30 : 20, foot = top + 150, H = foot + 34;
    const drawn = pen(canvas, W, H), { g, style, line, text, dot } = drawn, label = it.facts?.labels[s.picture];
    const own = logits.get(shown + s.picture), before = logits.get(first + s.picture);
    if (it.workers) {
      const from = FACE + 84;
      g.imageSmoothingEnabled = false;
      g.drawImage(it.face(s.picture), 0, 4, FACE, FACE);
      judge.bars(drawn, own && softmax(own), label, from, W, 0, before && softmax(before));
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
    if (judge.known.has(first)) {
      style("dim", 1, [4, 4]);
      line(left, py(rightly(first)), W - right, py(rightly(first)));
      dot(px(32), py(rightly(first)), 4.5, "fg");
    }
    const points = Object.keys(sizes).flatMap((form) => Object.keys(sizes[form]).map((most) =>
      ({ form, bits: +most, where: s.where }))).filter((p) => judge.known.has(keyOf(p)));
    const places = [], chosen = (p) => keyOf(p) === shown;
    for (const p of points.sort((a, b) => chosen(b) - chosen(a))) {
      const [x, y] = [px(bitsOf(p)), py(rightly(keyOf(p)))];
      dot(x, y, chosen(p) ? 6 : 4, p.form[0] === "L" ? "l" : "r");
      if (places.some(([u, v]) => Math.abs(u - x) < 46 && Math.abs(v - y) < 14)) continue; // no name over another
      places.push([x, y]);
      text(nameOf(p), clamp(x, left + 24, W - 30), y - 11, "center", chosen(p) ? "fg" : "dim");
    }
    if (!judge.known.size) text(it.workers ? "Counting …" : "Each form that you try leaves its dot here.", left + 8, py(0.25));
  }

  const from = (list) => (v) => list.some(({ value }) => value === v);
  const valid = { form: from(forms), bits: from(bits), where: from(where), picture: (v) => whole(v, 0, total) };
  return { nodes, canvas, paint, title: "What the squeezed network sees, and how often it is right", valid };
}

export default { render: (view) => mount(view, TRAITS, null, build) };
