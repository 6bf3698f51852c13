// What a network that runs in workers says of one picture, and how many of the held-out ones it knows, of any settings.

const SLICE = 5; // pictures a job: nothing can interrupt one
const LINE = 17; // pixels of a class and its bar

// `it` is a gallery. The order makes the pictures that are judged first a fair sample of all.
function jury(it, later) {
  const known = new Map(); // the classes of all held-out pictures, by settings
  const spread = (n) => (n * 2654435761) % 2 ** 32, order = Array.from({ length: it.total }, (_, n) => n);
  order.sort((a, b) => spread(a) - spread(b));
  let judged = "", found = [], busy = false;
  return {
    known,
    of: (key) => known.get(key) ?? (key === judged ? found : []),
    ask(job, then) { // of one picture; one at a time: what a reader passes by is not computed; gives whether it is
      if (busy) return false;
      it.workers.ask({ ...job, read: true }, true).then((reply) => {
        busy = false;
        then(reply);
        later();
      });
      return (busy = true);
    },
    says(p, label) { // of the shares of the classes and the true class, where there is one
      const top = p.indexOf(Math.max(...p));
      return `It sees: ${it.names[top]}, ${pct(p[top])}` + (top === label ? ", and that is right."
        : label < 0 ? "; you drew it." : `; it is: ${it.names[label]}, to which it gives ${pct(p[label])}.`);
    },
    bars({ g, color, text }, p, label, left, right, top, before = null) { // before: thin ones, of what was before
      const reach = right - left - 48;
      it.names.forEach((name, c) => {
        const y = top + c * LINE;
        text(name, left - 6, y + 8, "right", c === label ? "fg" : "dim");
        for (const [of, hue, down, high] of [[p, c === label ? "m" : "l", 2, 9], [before, "dim", 12, 3]]) {
          g.fillStyle = color(hue);
          if (of) g.fillRect(left, y + down, Math.max(1, of[c] * reach), high);
        }
        if (p) text(pct(p[c]), left + p[c] * reach + 6, y + 8);
      });
    },
    see(key, settings, quick) { // a slider on its way passes by what nobody will look at
      if (key === judged) return;
      it.workers.drop();
      const own = found = known.get(key) ?? new Array(it.total), there = known.has(key);
      it.done = there ? it.total : 0;
      judged = there || !quick ? key : "";
      if (there || quick) return;
      for (let from = 0; from < it.total; from += SLICE) {
        const rows = order.slice(from, from + SLICE);
        it.workers.ask({ settings, rows, home: from / SLICE }).then(({ classes }) => {
          if (found !== own) return;
          classes.forEach((c, i) => { own[rows[i]] = c; });
          it.done += rows.length;
          if (it.done === it.total) known.set(key, own);
          later();
        });
      }
    },
    tell(key, more) { // more: what follows, as far as it is known
      const n = key === judged ? it.done : known.has(key) ? it.total : 0, whole = n === it.total, right = it.right(this.of(key));
      const p = (right + 2) / (n + 4), off = 1.96 * Math.sqrt(((p - p * p) / (n + 4)) * (1 - n / it.total)); // Agresti, Coull
      const so = n ? `${share(right / n)}, 95\u202f% interval ${share(Math.max(0, p - off))} to ${share(Math.min(1, p + off))}` : "…";
      tell(it.kind, whole ? share(right / n) : "");
      it.rest.classList.toggle("mw-note", !whole);
      tell(it.rest, (whole ? ` of ${n} held-out pictures classified correctly`
        : `Classified correctly so far: ${so} (${n} of ${it.total} held-out pictures judged)`) + more);
    },
  };
}
