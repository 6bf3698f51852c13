// Chapter 5's models at work: they read what one types, character by character, and go on writing. A worker computes
// (twistor_net.js); here is what one sees.

const TRAITS = ["text", "at", "temperature", "off", "turn"];
const MODELS = { twistor: "twistor", lstm: "LSTM" };
const PARTS = { mobius: ["No Möbius maps", "anywhere"], memory: ["No memory", "slots unread"],
  nested: ["No nested levels", "straight on"], scales: ["No evolution", "gates alone"] };
const SLIDERS = [["temperature", null, "T", "temperature", 0, 1.5]], ALONG = ["at", null, "i", "character", 0, 1, 1];
const VIEW = [["turn", 0, "↔", "turn", -3.15, 3.15], ["turn", 1, "↕", "tilt", -1.6, 1.6]];
// AT_ONCE: characters a job; CELL: pixels a character; TALLEST: bits, of a bar
const AT_ONCE = 24, WRITTEN = 100, LIKELY = 8, TAIL = 1, CELL = 15, TALLEST = 8, LEFT = 40;
const BARS = [["twistor", "l", 2, 7], ["lstm", "r", 10, 3]];

// The text in the characters that there are, and those that have no likeness among them; as `known` in Python.
export function known(text, letters, plain) {
  let found = "";
  const lost = new Set();
  for (const c of text) {
    const parts = letters.includes(c) ? [c] : [...(plain[c] ?? c.normalize("NFKD"))];
    const alike = parts.map((p) => (letters.includes(p) ? p : p.toLowerCase())).filter((p) => letters.includes(p));
    found += alike.join("");
    if (!alike.length) lost.add(c);
  }
  return [found, [...lost].join("")];
}

export function drawn(logits, temperature, number) { // a token; number: from [0, 1)
  if (temperature === 0) return logits.indexOf(Math.max(...logits));
  let left = number;
  const shares = softmax(logits.map((v) => v / temperature)), found = shares.findIndex((p) => (left -= p) < 0);
  return found < 0 ? logits.indexOf(Math.max(...logits)) : found;
}

export function places(z) { // of every pair of a twistor, as `math.sphere` has it
  const n = z.length / 4;
  return Array.from({ length: n }, (_, k) => {
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => z[i * n + k]), up = a * a + b * b, down = c * c + d * d;
    return [2 * (a * c + b * d), 2 * (b * c - a * d), up - down].map((v) => v / (up + down || 1));
  });
}

const writes = (word) => `The ${word} writes on`;
const shown = (c) => (c === " " ? "␣" : c === "\n" ? "↵" : c);
const readable = (s, trait, i) => (trait === "turn" ? num(s.turn[i]) + " rad" : trait === "at" ? ""
  : s.temperature ? num(s.temperature) : "0, greedy");

function build(tools) {
  const { model, on, later, write, button, slider, arrows, wide } = tools;
  const letters = model.get("letters"), plain = model.get("plain"), most = model.get("most");
  const cut = () => model.get("off").split(" ").filter((name) => name);
  const counts = model.get("parameters"), intro = el("p.mw-note"), load = loader(tools, model, start, fail);
  const area = el("textarea", { maxLength: most, rows: 3, spellcheck: false, ariaLabel: "Text that the models read" });
  const lostNote = el("p.mw-note", { role: "status" });
  const parts = model.get("parts").map((name) => ({ name, b: button(() => {
    const off = cut();
    write({ off: model.get("parts").filter((n) => off.includes(n) !== (n === name)).join(" ") });
  }, PARTS[name][0], el("small", {}, PARTS[name][1])) }));
  const pens = Object.entries(MODELS)
    .map(([name, word]) => ({ name, word, b: button(() => toggle(name), writes(word)) }));
  const canvas = el("canvas"), ball = el("canvas.mw-balls", { role: "img" }), seen = el("p.mw-read");
  const kind = el("strong"), rest = el("span"), bar = el("progress", { max: 1, ariaLabel: "Characters read" });
  const along = slider(ALONG), thumb = along.children[1], place = along.children[2];
  const hidden = true, typing = el("div", { hidden }, el("p", {}, "Type here:"), area, lostNote);
  const side = el("div", { hidden }, el("p.mw-say", {}, kind, rest), bar,
    group("pair", "Write on", pens), ...SLIDERS.map(slider),
    group("two", "Parts of the twistor", parts), ball,
    el("details", {}, el("summary", {}, "Turn the spheres"), ...VIEW.map(slider)));
  const legend = el("p.mw-note", { hidden }, "Blue: the twistor. Orange: the LSTM. Above a letter: by how many bits " +
    `it came as a surprise (drawn up to ${TALLEST}). Green rows: how much of each memory slot was read there. ` +
    "Spheres: every pair of the state of each layer, and how the last character moved it.");
  const nodes = [intro, load, typing, el("div.mw-grid", {}, el("div.mw-plot", {}, canvas, along, seen), side), legend];
  along.hidden = true;

  // -- what the worker says: of each voice the rows of the characters that it has read
  const silent = () => ({ rows: [], read: [], off: "", busy: false });
  const voices = { twistor: silent(), lstm: silent(), whole: silent() };
  let worker = null, failure = "", writer = null, left = 0, wrote = "";

  function start(pack) {
    worker = pool(pack, fail, 1);
    for (const node of [typing, along, side, legend]) node.hidden = false;
    later();
  }

  function fail(why) {
    failure = `This browser cannot run the models here: ${why}`;
    later();
  }

  function toggle(name) {
    writer = writer === name ? null : name;
    [left, wrote] = [WRITTEN, model.get("text")];
    later();
  }

  const now = () => {
    const [text, lost] = known(model.get("text"), letters, plain), tokens = Array.from(text, (c) => letters.indexOf(c));
    return { text, lost, tokens, off: cut() };
  };

  // The rows of a voice that are still true, all of them or fewer.
  function fitting(voice, { tokens, off }, who) {
    if (voice.off !== (who === "twistor" ? off.join() : "")) return [];
    let n = 0;
    while (n < voice.rows.length && n < tokens.length && voice.read[n] === tokens[n]) n++;
    return n === voice.rows.length ? voice.rows : voice.rows.slice(0, n);
  }

  function ask(state) {
    for (const [who, voice] of Object.entries(voices)) {
      if (voice.busy || (who === "whole" && !state.off.length)) continue;
      if (fitting(voice, state, who).length === state.tokens.length) continue;
      voice.busy = true;
      const off = who === "twistor" ? state.off : [], name = who === "lstm" ? "lstm" : "twistor", { tokens } = state;
      worker.ask({ who, model: name, tokens, off, most: AT_ONCE }).then(({ from, rows }) => {
        voice.rows = [...voice.rows.slice(0, from), ...rows];
        Object.assign(voice, { busy: false, off: off.join(), read: tokens.slice(0, voice.rows.length) });
        later();
      });
    }
  }

  function goOn(state, rows) { // one character, once all before it are read
    if (!writer) return;
    const text = model.get("text");
    if (!left || text !== wrote || text.length >= most || !state.tokens.length) writer = null; // wrote: or others do
    else if (rows[writer].length === state.tokens.length) {
      left--;
      const token = drawn(rows[writer].at(-1).logits, model.get("temperature"), Math.random());
      wrote = text + letters[token];
      write({ text: wrote, at: -1 });
    }
  }

  // -- picture
  const told = (rows, state) => (state.tokens.length < 2 ? "–" : rows.length < state.tokens.length ? "…"
    : num(mean(rows.slice(1).map(({ bits }) => bits)), 3));

  function paint(s) {
    const [own, other] = [counts.twistor, counts.lstm].map((n) => n.toLocaleString("en"));
    tell(intro, failure || (worker ? "" : `Two models of characters, a twistor of ${own} parameters ` +
      `and an LSTM of ${other}, trained on the same text. Once loaded, they run in this page, on your own device.`));
    const W = wide(canvas);
    if (!worker || failure) {
      const state = now();
      if (W) strip(W, state, { twistor: [], lstm: [] }, -1); // from its beginning
      return W && intro.textContent;
    }
    if (area.value !== s.text) {
      area.value = s.text;
      area.scrollTop = area.scrollHeight; // what is written on is seen
    }
    const state = now(), each = Object.entries(voices);
    const rows = Object.fromEntries(each.map(([who, voice]) => [who, fitting(voice, state, who)]));
    ask(state);
    goOn(state, rows);
    const { tokens, lost, off } = state, last = tokens.length - 1;
    const at = s.at < 0 ? Math.min(last, Math.max(rows.twistor.length - 1, 0)) : Math.min(s.at, last);
    const strange = [...lost].join(" ");
    tell(lostNote, lost ? `Left out, for the models have never seen them: ${strange}` : "");
    for (const { name, b } of parts) press(b, off.includes(name));
    for (const { name, word, b } of pens) {
      tell(b, writer === name ? "Stop" : writes(word));
      press(b, writer === name);
    }
    [thumb.min, thumb.max, thumb.value] = [0, Math.max(last, 1), at];
    update(thumb, "ariaValueText", at < 0 ? "none" : `${at + 1} of ${last + 1}, ${state.text[at]}`);
    tell(place, at < 0 ? "" : `${at + 1} of ${last + 1}`);
    const shares = Object.entries(rows).filter(([who]) => who !== "whole" || off.length).map(([, r]) => r.length);
    bar.value = last < 0 ? 1 : Math.min(...shares) / tokens.length;
    bar.classList.toggle("done", bar.value === 1);
    tell(kind, `${told(rows.twistor, state)} bits`);
    const whole = off.length ? ` (whole: ${told(rows.whole, state)})` : "";
    tell(rest, ` per character by the twistor${whole}, ${told(rows.lstm, state)} by the LSTM.`);
    if (!W) return "";
    strip(W, state, rows, at);
    spheres(s, rows.twistor, at);
    const here = rows.twistor[at];
    if (last < 0) tell(seen, "Type something.");
    if (!here || (s.at < 0 && at < last)) return kind.textContent + rest.textContent; // words come at the end
    const p = softmax(here.logits), best = order(p).slice(0, 3).filter((i, n) => !n || p[i] > 0.005)
      .map((i) => `${shown(letters[i])} ${pct(p[i])}`);
    const memory = here.read ? ` Memory slots: shares read ${here.read.map(pct).join(", ")} (rounded); of each slot ` +
      `rewritten ${here.written.map((w) => num(100 * w, 1) + "\u202f%").join(", ")}.` : "";
    tell(seen, (at ? `“${shown(state.text[at])}”: a surprise of ${num(here.bits)} bits. ` : "") +
      `Expected next: ${best.join(", ")}.${memory}`);
    return `${kind.textContent}${rest.textContent} ${seen.textContent}`;
  }

  const order = (p) => p.map((_, i) => i).sort((i, j) => p[j] - p[i]);
  let window_ = [0, 0], slots = 0; // window_: the first character of the strip, and how many there are

  function strip(W, state, rows, at) {
    const count = Math.floor((W - LEFT) / CELL), beyond = Math.max(0, state.tokens.length - count);
    const first = clamp(at - Math.floor(0.75 * count), 0, beyond);
    window_ = [first, Math.min(count, state.tokens.length - first)];
    slots = rows.twistor[0]?.read?.length ?? slots; // without the memory its rows stay, empty
    const tall = 84, line = 18, below = tall + 22, next = below + 9 * slots + 30;
    const { g, color, style, line: stroke, text: say } = pen(canvas, W, worker ? next + LIKELY * line : below);
    const unit = (tall - 14) / TALLEST;
    const up = (b) => tall - unit * Math.min(b, TALLEST);
    style("line", 1);
    for (const b of worker ? [0, 4, 8] : []) {
      stroke(LEFT, up(b), W, up(b));
      say(`${b} bits`, LEFT - 4, up(b), "right");
    }
    for (let n = 0; n < window_[1]; n++) {
      const i = first + n, x = LEFT + n * CELL;
      if (i === at) {
        g.fillStyle = color("fill");
        g.fillRect(x, 0, CELL, below + 9 * slots);
      }
      for (const [who, c, from, wide] of BARS) {
        const y = up(rows[who][i]?.bits ?? 0);
        g.fillStyle = color(c);
        g.fillRect(x + from, y, wide, tall - y);
      }
      say(shown(state.text[i]), x + CELL / 2 - 1, tall + 11, "center", i === at ? "fg" : "dim");
      rows.twistor[i]?.read?.forEach((share, k) => {
        g.globalAlpha = share;
        g.fillStyle = color("m");
        g.fillRect(x, below + 9 * k, CELL - 1, 8);
        g.globalAlpha = 1;
      });
    }
    const chosen = rows.twistor[at], other = rows.lstm[at];
    if (!chosen) return;
    const p = softmax(chosen.logits), q = other && softmax(other.logits), left = LEFT, wide = W - left - 92;
    say("Next:", 0, next - 12, "left", "fg");
    order(p).slice(0, LIKELY).forEach((token, n) => {
      const y = next + n * line + line / 2;
      say(shown(letters[token]), left - 8, y, "right", "fg");
      g.fillStyle = color("l");
      g.fillRect(left, y - 6, Math.max(1, p[token] * wide), 7);
      g.fillStyle = color("r");
      if (q) g.fillRect(left, y + 2, Math.max(1, q[token] * wide), 3);
      say(pct(p[token]) + (q ? ` · ${pct(q[token])}` : ""), W - 2, y, "right");
    });
  }

  function spheres(s, rows, at) {
    const W = wide(ball), here = rows[at];
    if (!W) return;
    const count = here?.points.length ?? 2, gap = 12, size = Math.min((W - gap * (count - 1)) / count, 190);
    const R = size / 2 - 6;
    const { g, color, style, dot, text: say } = pen(ball, W, size + 18);
    for (let l = 0; l < count; l++) {
      const cx = size / 2 + l * (size + gap), cy = size / 2;
      const spot = ([x, y, z]) => { const [a, b, c] = turned([x, z, -y], s.turn); return [cx + R * a, cy - R * b, c]; };
      g.beginPath();
      g.arc(cx, cy, R, 0, 7);
      g.fillStyle = color("soft");
      g.fill();
      style("dim", 1);
      g.stroke();
      say(`layer ${l + 1}`, cx, size + 8, "center");
      if (!here) continue;
      const trail = rows.slice(Math.max(0, at - TAIL), at + 1).map((row) => places(row.points[l]).map(spot));
      trail.at(-1).forEach(([x, y, z], k) => {
        g.globalAlpha = z > 0 ? 1 : 0.3;
        style("l", 1);
        g.beginPath();
        for (const step of trail) g.lineTo(step[k][0], step[k][1]);
        g.stroke();
        dot(x, y, 3, "l");
        g.globalAlpha = 1;
      });
    }
    update(ball, "ariaLabel", `The points of the state of each of ${count} layers, on spheres.`);
  }

  // -- events
  on(area, "input", () => write({ text: area.value, at: -1 }));
  const look = (n) => write({ at: clamp(n, 0, Math.max(now().tokens.length - 1, 0)) });
  on(canvas, "click", (e) => {
    const n = Math.floor((e.clientX - canvas.getBoundingClientRect().left - LEFT) / CELL);
    if (n >= 0 && n < window_[1]) look(window_[0] + n);
  });
  arrows(canvas, (d) => { if (d) look((model.get("at") < 0 ? now().tokens.length - 1 : model.get("at")) + d[0]); });
  turnable(tools, ball);
  tools.off.push(() => worker?.close());
  const names = model.get("parts"), valid = { // of what an address brings
    text: (v) => v.length <= most, at: (v) => Number.isInteger(v) && v >= -1 && v < most,
    off: (v) => v === names.filter((name) => v.split(" ").includes(name)).join(" "),
  };
  return { nodes, canvas, paint, title: "How the models read the text", valid };
}

export default { render: (view) => mount(view, TRAITS, readable, build) };
