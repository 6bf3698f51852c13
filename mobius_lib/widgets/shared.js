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

const pens = new WeakMap(); // the size that a canvas has: to set it anew would throw its memory away in every frame

function pen(canvas, W, H) { // W x H CSS pixels, sharp on any screen; colours by their names in the style sheet
  const css = getComputedStyle(canvas), g = canvas.getContext("2d"), dpr = window.devicePixelRatio || 1;
  const size = [W, H, dpr] + "", seen = {};
  if (pens.get(canvas) === size) g.clearRect(0, 0, W, H);
  else {
    pens.set(canvas, size);
    canvas.width = Math.round(W * dpr);
    canvas.height = Math.round(H * dpr);
    canvas.style.height = H + "px";
    g.setTransform(canvas.width / W, 0, 0, canvas.height / H, 0, 0);
    g.font = "12px " + css.fontFamily;
    g.textBaseline = "middle";
    g.lineJoin = "round"; // a mitre would overshoot a crest
  }
  const color = (name) => (seen[name] ??= css.getPropertyValue("--" + name) || name);
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

const REST = 160; // ms without a change, until what was drawn quickly is drawn well

// `build` gets the tools below and returns { nodes, canvas, paint, title }. `paint`, called with all traits, the time and
// whether to be quick (a slider is on its way), draws, and returns the picture in words, or nothing where it is hidden.
// `readable` says the value of a slider.
function mount({ model, el: host }, traits, readable, build) {
  const off = [], rows = []; // off: what has to be undone when the view goes
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
  // trait, index, symbol, name, least, most, step, whether least and most are powers of ten; values outside widen it
  const slider = ([trait, i, symbol, name, low, high, step = 0.01, log = false]) => {
    const out = el("output"), ariaLabel = `${symbol}, ${name}`;
    const input = el("input", { type: "range", min: low, max: high, step, ariaLabel });
    input.dataset.trait = trait;
    on(input, "input", () => {
      const v = log ? +(10 ** input.value).toPrecision(3) : +input.value, all = model.get(trait);
      write({ [trait]: i === null ? v : all.map((old, k) => (k === i ? v : old)) });
    });
    rows.push({ input, out, trait, i, log });
    return el("label", {}, el("span", {}, symbol + " ", el("small", {}, name)), input, out);
  };

  const { nodes, canvas, paint, title } = build({ model, on, later, write, button, slider, arrows });
  const live = el("div.mw-live", { role: "status" }), root = el("div.mw", {}, el("div.mw-card", {}, ...nodes), live);
  canvas.setAttribute("role", "img");
  host.replaceChildren(root);

  function show(now) {
    frame = 0;
    const s = Object.fromEntries(traits.map((k) => [k, model.get(k)]));
    root.classList.toggle("dark", isDark());
    for (const { input, out, trait, i, log } of rows) {
      const own = i === null ? s[trait] : s[trait][i], v = log ? Math.log10(own) : own;
      if (v < input.min) input.min = Math.floor(v); // widen, never shrink: a thumb being dragged must not jump
      if (v > input.max) input.max = Math.ceil(v);
      input.value = v;
      const said = readable(s, trait, i);
      update(input, "ariaValueText", said);
      update(out, "textContent", said);
    }
    const quick = performance.now() - moved < REST;
    root.classList.toggle("quick", quick);
    const said = paint(s, now, quick);
    clearTimeout(resting);
    if (quick) resting = setTimeout(later, REST);
    if (!said) return; // hidden: the resize observer calls again
    clearTimeout(quiet);
    quiet = setTimeout(() => { // for screen readers: once the slider rests
      live.textContent = said;
      canvas.ariaLabel = `${title}: ${said}`;
    }, 500);
  }

  for (const k of traits) {
    model.on("change:" + k, later);
    off.push(() => model.off("change:" + k, later));
  }
  on(matchMedia("(prefers-color-scheme: dark)"), "change", later);
  const size = new ResizeObserver(later), theme = new MutationObserver(later);
  size.observe(canvas);
  for (const node of [document.documentElement, document.body])
    theme.observe(node, { attributes: true, attributeFilter: ["data-theme", "theme", "data-jp-theme-light"] });
  later();
  for (const own of Object.values(model.widget_manager?._models ?? {})) hear(own, model.get("_esm"));
  return () => {
    off.forEach((undo) => undo());
    size.disconnect();
    theme.disconnect();
    cancelAnimationFrame(frame);
    clearTimeout(quiet);
    clearTimeout(resting);
  };
}
