// The held-out pictures that a trained network is judged on, as its reader sees and chooses them.

const SHOWN = 2; // thumbnails a class

const ink = (r, g, b) => (255 << 24) | (b << 16) | (g << 8) | r;

function image(W, H, pixel) { // pixel(x, y) gives an ink
  const c = el("canvas", { width: W, height: H }), g = c.getContext("2d"), img = g.createImageData(W, H);
  const pixels = new Uint32Array(img.data.buffer);
  for (let n = 0; n < W * H; n++) pixels[n] = pixel(n % W, Math.floor(n / W));
  g.putImageData(img, 0, 0);
  return c;
}

const grey = (bytes, side) => image(side, side, (x, y) => ink(...Array(3).fill(bytes[side * y + x])));

// What every network of pictures has in its view: its button, the pictures, one that is classified wrongly, the progress.
// `own` is the model, `begun` is called when the network is there; `words` say what it is, and what stands in its place.
function gallery({ off, later, write, button }, own, words, begun = () => {}) {
  const names = own.get("names"), total = own.get("rows"), side = own.get("side"), size = side * side;
  const intro = el("p.mw-note"), thumbs = group("thumbs", "Held-out pictures", []), kind = el("strong"), rest = el("span");
  const bar = el("progress", { max: total, ariaLabel: "Held-out pictures read" }), body = el("div", { hidden: true });
  let pixels = null, choices = [], classes = [], seeking = null; // seeking: from which picture on, while none is found

  const row = (n) => pixels.subarray(n * size, (n + 1) * size), face = (n) => grey(row(n), side);
  const fail = (why) => {
    it.failure = `This browser cannot run the network here: ${why} ${words.instead}`;
    later();
  };
  const load = loader({ button }, own, (pack, facts) => {
    pixels = new Uint8Array(pack.files.pictures);
    Object.assign(it, { facts, workers: pool(pack, fail) });
    choices = names.flatMap((name, c) => facts.labels.flatMap((label, n) => (label === c ? [n] : [])).slice(0, SHOWN)
      .map((n) => {
        const b = button(() => write({ picture: n }), face(n));
        b.ariaLabel = `${name}, ${n + 1}`;
        return { b, n };
      }));
    thumbs.append(...choices.map(({ b }) => b));
    body.hidden = false;
    begun();
    later();
  }, fail);
  function seek(from) { // the next that is classified wrongly, of those that are known
    const wrong = classes.flatMap((c, n) => (c === it.facts.labels[n] ? [] : [n]));
    const found = wrong.find((n) => n > from) ?? wrong[0] ?? from;
    seeking = found === from && it.done < total ? from : null;
    if (found !== from) write({ picture: found });
  }
  const wrong = button(() => { seek(own.get("picture")); later(); }), further = group("pair", "Further pictures", [wrong]);
  const it = {
    names, total, side, size, intro, load, thumbs, further, body, bar, kind, rest, row, face,
    say: el("p.mw-say", {}, kind, rest), workers: null, facts: null, failure: "", done: 0,
    right: (list) => list.filter((c, n) => c === it.facts.labels[n]).length,
    mark(picture, known) { // known: the classes of the pictures, as far as they are
      classes = known;
      if (seeking !== null) seeking === picture ? seek(picture) : seeking = null;
      tell(wrong, seeking === null ? "One it gets wrong" : "Searching …");
      tell(intro, it.failure || (it.workers ? "" : words.before + " Once loaded, it runs in this page, on your own device."));
      for (const { b, n } of choices) press(b, n === picture);
      bar.value = it.done;
      bar.classList.toggle("done", it.done === total);
    },
  };
  off.push(() => it.workers?.close());
  return it;
}

const whole = (v, least, end) => Number.isInteger(v) && v >= least && v < end;
const share = (v) => num(100 * v, 1) + "\u202f%";
