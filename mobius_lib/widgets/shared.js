// What the book's widgets have in common; `served` puts it before each of them. First small mathematics and words, then
// `pen`, which draws on a canvas, and `mount`, which joins elements, traits and one picture per animation frame.

export const sigmoid = (z) => 1 / (1 + Math.exp(-z));

export function softmax(z) {
  const top = Math.max(...z), e = z.map((v) => Math.exp(v - top)), sum = e.reduce((p, q) => p + q);
  return e.map((v) => v / sum);
}

const mean = (v) => v.reduce((sum, x) => sum + x, 0) / v.length;
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const num = (v, d = 2) => (Math.abs(v) < 0.5 * 10 ** -d ? 0 : v).toFixed(d).replace("-", "\u2212");
const pct = (v) => Math.round(100 * v) + "\u202f%";

const isDark = () => {
  const html = document.documentElement, lab = document.body.dataset.jpThemeLight;
  const theme = html.dataset.theme || html.getAttribute("theme") || (lab && (lab === "false" ? "dark" : "light"));
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function el(kind, props = {}, ...children) { // kind: tag or tag.class
  const [tag, className = ""] = kind.split(".");
  const node = Object.assign(document.createElement(tag), { className }, props);
  node.append(...children);
  return node;
}

// Buttons, or what has one as its b; and whether the traits have what a button would set.
const group = (kind, ariaLabel, list) =>
  el("div.mw-" + kind, { role: "group", ariaLabel }, ...list.map((each) => each.b ?? each));
const shows = (s, state) => Object.keys(state).every((k) => String(s[k]) === String(state[k]));

let finer = 0; // pixels for each CSS pixel in a picture that is to be kept; else as many as the screen has
let shade = 0; // 1 in the dark theme
const inks = [{}, {}]; // the colours of both, once read: a style that is read after something was written is made anew
const pens = new WeakMap(); // the size that a canvas has: to set it anew would throw its memory away in every frame

// W x H CSS pixels, sharp on any screen; colours by their names in the style sheet, as they are where `of` is.
function pen(canvas, W, H, of = canvas) {
  const g = canvas.getContext("2d"), dpr = finer || window.devicePixelRatio || 1, size = [W, H, dpr] + "";
  if (pens.get(canvas) === size) g.clearRect(0, 0, W, H);
  else {
    pens.set(canvas, size);
    canvas.width = Math.round(W * dpr);
    canvas.height = Math.round(H * dpr);
    canvas.style.height = H + "px";
    g.setTransform(canvas.width / W, 0, 0, canvas.height / H, 0, 0);
    g.font = "12px " + getComputedStyle(of).fontFamily;
    g.textBaseline = "middle";
    g.lineJoin = "round"; // a mitre would overshoot a crest
  }
  const color = (name) => (name[0] === "#" ? name
    : (inks[shade][name] ||= getComputedStyle(of).getPropertyValue("--" + name)) || name);
  const style = (c, width, dash = []) => { g.strokeStyle = color(c); g.lineWidth = width; g.setLineDash(dash); };
  const path = (points) => {
    g.beginPath();
    for (const [x, y] of points) g.lineTo(x, y);
  };
  return {
    g, color, style, path,
    line: (...ends) => { path([ends.slice(0, 2), ends.slice(2)]); g.stroke(); },
    text: (str, x, y, align = "left", c = "dim") => {
      g.fillStyle = color(c);
      g.textAlign = align;
      g.fillText(str, x, y);
    },
    dot: (x, y, r, c) => { g.beginPath(); g.arc(x, y, r, 0, 7); g.fillStyle = color(c); g.fill(); },
    outlined: (draw) => { // readable on every colour of a map
      for (const [c, width] of [["#000", 4], ["#fff", 2]]) {
        style(c, width);
        g.beginPath();
        draw();
        g.stroke();
      }
    },
  };
}

// To write what is there already would still cost a layout.
const update = (node, key, value) => { if (node[key] !== value) node[key] = value; };
const tell = (node, text) => update(node, "textContent", text);
const press = (b, on) => update(b, "ariaPressed", String(on));

// anywidget waits two seconds for a module, and where that was not enough it turns away all that Python sends, for good.
// It then is heard by the handler that anywidget put its own before, and asked for what was missed.
async function hear(own, esm) {
  const m = await own;
  if (!m.comm || m.get("_esm") !== esm) return;
  try { await m._handle_comm_msg({ content: { data: {} } }); } catch {
    let plain;
    for (let p = m; (p = Object.getPrototypeOf(p));) if (Object.hasOwn(p, "_handle_comm_msg")) plain = p._handle_comm_msg;
    m.comm.on_msg((message) => plain.call(m, message));
    m.comm.send({ method: "request_state" }, {});
  }
}

// Keeps what is made until its key changes; what was made quickly is made again as soon as there is time.
function keeper() {
  let of = null, rough = false, kept;
  return (key, quick, make) => {
    if (key !== of || (rough && !quick)) [kept, of, rough] = [make(), key, quick];
    return kept;
  };
}

const arrowOf = (e) => ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] })[e.key];

// What a reader may take along of a widget: an address that brings its values back, its picture, and the Python that
// makes it. `own` is the model, `rows` its sliders. `valid` says of further traits whether what an address brings is a
// value (it is told whether that has the form of the first one); a trait with neither stays out of addresses.
function souvenirs({ own, traits, rows, valid, write, button, root, live, title, paint }) {
  const start = Object.fromEntries(traits.map((k) => [k, structuredClone(own.get(k))]));
  const changed = (k) => JSON.stringify(own.get(k)) !== JSON.stringify(start[k]), flat = (v) => [v].flat(Infinity);
  const inBook = document.documentElement.dataset.content_root !== undefined; // else the address is a notebook's

  const alike = (v, like) => Array.isArray(like) ? v.length === like.length && like.every((each, i) => alike(v[i], each))
    : typeof v === typeof like && (typeof v !== "number" || Number.isFinite(v));
  const within = (k, v) => rows.filter((r) => r.trait === k).every(({ i, low, high, step, log }) => {
    const of = (all) => flat(i === null ? all : all[i]);
    const ends = log ? [0.99 * 10 ** low, 1.01 * 10 ** high] : [low, high];
    return of(v).every((x) => x >= Math.min(ends[0], ...of(start[k])) && x <= Math.max(ends[1], ...of(start[k])) &&
      (log || step !== 1 || Number.isInteger(x)));
  });
  const may = (k, v) => k in valid ? valid[k](v, alike(v, start[k]))
    : rows.some((r) => r.trait === k) && alike(v, start[k]) && within(k, v);
  const fold = (list, like) => like.map((each) => (Array.isArray(each) ? fold(list, each) : list.shift()));
  const read = (text, like) => { // what lists hold stands in a row, whatever lists they are in
    if (typeof like === "string") return text;
    if (typeof like === "boolean") return text === "true";
    const list = text ? text.split("_").map((part) => (part.trim() && Number.isFinite(+part) ? +part : part)) : [];
    if (!Array.isArray(like)) return list.length === 1 ? list[0] : NaN;
    const v = Array.isArray(like[0]) ? fold(list, like) : list;
    return v === list || !list.length ? v : [];
  };

  const views = globalThis.mobiusViews ??= new Map(), kind = own.get("_anywidget_id")?.split(".").at(-2) ?? "widget";
  let name = kind;
  for (let n = 2; views.has(name); n++) name = `${kind}-${n}`;
  views.set(name, () => traits.filter((k) => changed(k) && may(k, own.get(k)))
    .map((k) => `${name}.${k}=${encodeURIComponent(flat(own.get(k)).join("_"))}`));
  const address = () => { // of this page, with what is changed in all its widgets
    const all = [...views.values()].flatMap((f) => f());
    return location.href.split("#")[0].split("?")[0] + (all.length ? "?" + all.join("&") : "");
  };
  const note = (url) => { try { history.replaceState(history.state, "", url); } catch { /* of a file on a disk */ } };

  const found = {}, given = new URLSearchParams(inBook ? location.search : "");
  for (const k of traits) {
    const text = given.get(`${name}.${k}`), v = text === null ? null : read(text, start[k]);
    if (text !== null && may(k, v)) found[k] = v;
  }

  function reset() {
    write(Object.fromEntries(traits.filter(changed).map((k) => [k, start[k]])));
    if (inBook) note(address());
  }
  const python = () => {
    const of = (v) => Array.isArray(v) ? `[${v.map(of).join(", ")}]`
      : typeof v === "boolean" ? (v ? "True" : "False") : JSON.stringify(v);
    const set = [...new Set([...(own.get("given") ?? []), ...traits.filter(changed)])];
    const inside = set.map((k) => `\n    ${k}=${of(own.get(k))},`).join("") + (set.length ? "\n" : "");
    return `# In Colab first: %pip install -q "mobius_lib[run,widgets] @ git+https://github.com/mobius-book/mobius-book"\n` +
      `${(own.get("recipe") ?? "").replace("{}", () => inside)}\n`;
  };
  function svg() { // the canvases as they are, and all words below them
    const css = getComputedStyle(root), color = (of) => css.getPropertyValue("--" + of), parts = [];
    const safe = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
    finer = Math.max(2, window.devicePixelRatio || 1);
    const said = paint();
    finer = 0;
    const shown = [...root.querySelectorAll("canvas")].filter((c) => c.clientWidth && !c.closest("button, details"));
    const W = Math.max(320, ...shown.map((c) => c.clientWidth)), g = el("canvas").getContext("2d");
    let y = 8;
    const put = (line, size, of, weight) => {
      y += 1.4 * size;
      parts.push(`<text x="16" y="${y}" font-size="${size}" font-weight="${weight}" fill="${color(of)}">` +
        `${safe(line)}</text>`);
    };
    const say = (words, size = 12, of = "dim", weight = 400) => { // lines no wider than the pictures
      let line = "";
      g.font = `${weight} ${size}px ${css.fontFamily}`;
      for (const word of words.split(" ").filter((w) => w)) {
        const longer = line ? `${line} ${word}` : word;
        if (line && g.measureText(longer).width > W) put(line, size, of, weight);
        line = line && g.measureText(longer).width > W ? word : longer;
      }
      if (line) put(line, size, of, weight);
      y += size / 2;
    };
    say(title, 15, "fg", 700);
    for (const c of shown) {
      const w = c.clientWidth, h = c.clientHeight;
      parts.push(`<image x="16" y="${y}" width="${w}" height="${h}" href="${c.toDataURL()}"/>`);
      for (const pin of c.parentNode.querySelectorAll(":scope > .mw-pin")) {
        const face = pin.firstChild, r = face.offsetWidth / 2, mark = face.textContent;
        const cx = 16 + pin.offsetLeft + pin.offsetWidth / 2, cy = y + pin.offsetTop + pin.offsetHeight / 2;
        parts.push(`<rect x="${cx - r}" y="${cy - r}" width="${2 * r}" height="${2 * r}" rx="${mark ? 5 : r}" ` +
          `fill="${getComputedStyle(face).backgroundColor}" stroke="${color("bg")}" stroke-width="2"/>` + (mark ?
          `<text x="${cx}" y="${cy + 4}" font-size="12" text-anchor="middle" fill="${color("bg")}">` +
          `${safe(mark)}</text>` : ""));
      }
      y += h + 8;
    }
    paint(); // for the screen again
    const seen = (of) => [...root.querySelectorAll(of)]
      .filter((e) => e.offsetParent && !e.closest("details:not([open])"));
    const told = seen("label:has(output)").map((e) => `${e.firstChild.textContent} ${e.querySelector("output").textContent}`);
    say(told.join("; "), 12, "fg");
    for (const e of seen("p")) say(e.textContent);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${W + 32}" height="${y + 12}" role="img" ` +
      `font-family="${safe(css.fontFamily)}"><title>${safe(title)}</title><desc>${safe(said || title)}</desc>` +
      `<rect width="100%" height="100%" fill="${color("bg")}"/>${parts.join("")}</svg>`;
  }

  const copy = async (text, b) => {
    try { await navigator.clipboard.writeText(text); } catch { // an old browser, or a frame that may not
      const area = el("textarea", { value: text, style: "position: fixed; opacity: 0" });
      root.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      b.focus({ preventScroll: true });
      return done ? "Copied" : "Not allowed";
    }
    return "Copied";
  };
  const keep = (label, f) => {
    let late = 0;
    const b = button(async () => {
      live.textContent = b.textContent = await f(b);
      clearTimeout(late);
      late = setTimeout(() => { b.textContent = label; }, 2000);
    }, label);
    return b;
  };
  const offers = [
    keep("Copy link", (b) => { note(address()); return copy(address(), b); }),
    keep("Reset", () => { reset(); return "As at first"; }),
    keep("Save picture", () => {
      const href = URL.createObjectURL(new Blob([svg()], { type: "image/svg+xml" }));
      el("a", { href, download: name + ".svg" }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10000);
      return "Saved";
    }),
    keep("Copy Python", (b) => copy(python(), b)),
  ];
  const inside = offers.slice(inBook ? 0 : 1);
  root.firstChild.append(el("div.mw-keep", { role: "group", ariaLabel: "Take it along" }, ...inside));
  return { found, reset, close: () => views.delete(name) };
}

const REST = 160; // ms without a change, until what was drawn quickly is drawn well

// `build` gets the tools below and returns { nodes, canvas, paint, title, valid }. `paint`, called with all traits, the time
// and whether to be quick (a slider is on its way), draws, and returns the picture in words, or nothing where it is hidden.
// `readable` says the value of a slider; `valid` is of `souvenirs`.
function mount({ model, el: host }, traits, readable, build) {
  const off = [], rows = [], widths = new WeakMap(); // off: what has to be undone when the view goes
  let frame = 0, quiet = 0, moved = -REST, resting = 0;
  const later = () => { frame ||= requestAnimationFrame(show); };
  const on = (target, event, f) => {
    target.addEventListener(event, f);
    off.push(() => target.removeEventListener(event, f));
  };
  const write = (changes) => {
    for (const [k, v] of Object.entries(changes)) model.set(k, Array.isArray(v) ? [...v] : v);
    try { model.save_changes?.(); } catch { /* a page without a kernel */ }
    moved = performance.now();
    later();
  };
  // The width of an element, as it was when it last changed: to ask for it after words were written costs a layout.
  const wide = (node) => widths.get(node) ?? node.clientWidth;
  // What a pointer reads, the arrow keys read too: f gets a step, ten times as far with Shift, or on Escape nothing.
  const arrows = (node, f) => {
    node.tabIndex = 0;
    on(node, "keydown", (e) => {
      const d = e.target === node && arrowOf(e);
      if (!d && e.key !== "Escape") return;
      e.preventDefault();
      f(d && d.map((v) => (e.shiftKey ? 10 : 1) * v));
      later();
    });
  };
  const button = (f, ...children) => {
    const b = el("button", { type: "button" }, ...children);
    on(b, "click", () => {
      f();
      moved = -REST; // one change, and no drag: drawn well at once
    });
    return b;
  };
  const setting = (of) => ({ ...of, b: button(() => write(of.state), of.name, el("small", {}, of.note)) });
  // trait, index, symbol, name, least, most, step, whether least and most are powers of ten; values outside widen it
  const slider = ([trait, i, symbol, name, low, high, step = 0.01, log = false]) => {
    const out = el("output"), ariaLabel = `${symbol}, ${name}`;
    const input = el("input", { type: "range", min: low, max: high, step, ariaLabel });
    input.dataset.trait = trait;
    on(input, "input", () => {
      const v = log ? +(10 ** input.value).toPrecision(3) : +input.value, all = model.get(trait);
      write({ [trait]: i === null ? v : all.map((old, k) => (k === i ? v : old)) });
    });
    rows.push({ input, out, trait, i, low, high, step, log });
    return el("label", {}, el("span", {}, symbol + " ", el("small", {}, name)), input, out);
  };

  const { nodes, canvas, paint, title, valid = {} } =
    build({ model, off, on, later, write, button, slider, arrows, wide, setting });
  const live = el("div.mw-live", { role: "status" }), root = el("div.mw", {}, el("div.mw-card", {}, ...nodes), live);
  canvas.setAttribute("role", "img");
  host.replaceChildren(root);
  const atOnce = () => { // and well
    cancelAnimationFrame(frame);
    moved = -REST;
    return show(performance.now());
  };
  const own = model.real ?? model;
  const kept = souvenirs({ own, traits, rows, valid, write, button, root, live, title, paint: atOnce });
  let linked = Object.keys(kept.found).length > 0; // values that an address brought wait to be seen
  if (linked) write(kept.found);

  function show(now) {
    frame = 0;
    const s = Object.fromEntries(traits.map((k) => [k, model.get(k)]));
    shade = +isDark();
    root.classList.toggle("dark", !!shade);
    const quick = performance.now() - moved < REST;
    root.classList.toggle("quick", quick);
    let words; // what is drawn comes before what is written: text in a canvas needs all styles as they then are
    try { words = paint(s, now, quick); } catch (error) {
      if (!linked) throw error;
      linked = false;
      return kept.reset();
    }
    for (const row of rows) {
      const { input, out, trait, i, log } = row, own = i === null ? s[trait] : s[trait][i], v = log ? Math.log10(own) : own;
      if (v < input.min) input.min = Math.floor(v); // widen, never shrink: a thumb being dragged must not jump
      if (v > input.max) input.max = Math.ceil(v);
      if (row.shown !== v) input.value = row.shown = v;
      const said = readable(s, trait, i);
      update(input, "ariaValueText", said);
      tell(out, said);
    }
    clearTimeout(resting);
    if (quick) resting = setTimeout(later, REST);
    if (!words) return ""; // hidden: the resize observer calls again
    if (linked && !location.hash && !globalThis.mobiusSeen) root.scrollIntoView();
    if (linked) linked = !(globalThis.mobiusSeen = true);
    clearTimeout(quiet);
    quiet = setTimeout(() => { // for screen readers: once the slider rests
      live.textContent = words;
      canvas.ariaLabel = `${title}: ${words}`;
    }, 500);
    return words;
  }

  for (const k of traits) {
    model.on("change:" + k, later);
    off.push(() => model.off("change:" + k, later));
  }
  on(matchMedia("(prefers-color-scheme: dark)"), "change", later);
  const theme = new MutationObserver(later), size = new ResizeObserver((all) => {
    for (const { target, contentRect } of all) {
      const width = Math.round(contentRect.width); // neither has a border
      if (widths.get(target) !== width) later();
      widths.set(target, width);
    }
  });
  for (const node of [root, ...root.querySelectorAll("canvas")]) size.observe(node);
  for (const node of [document.documentElement, document.body])
    theme.observe(node, { attributes: true, attributeFilter: ["data-theme", "theme", "data-jp-theme-light"] });
  later();
  for (const own of Object.values(model.widget_manager?._models ?? {})) hear(own, model.get("_esm"));
  return () => {
    off.forEach((undo) => undo());
    kept.close();
    size.disconnect();
    theme.disconnect();
    cancelAnimationFrame(frame);
    clearTimeout(quiet);
    clearTimeout(resting);
  };
}
