// How many of the held-out pictures a network knows, counted by its workers, of any settings.

const SLICE = 5; // pictures a job: nothing can interrupt one

// `it` is a gallery. The order makes the pictures that are judged first a fair sample of all.
function jury(it, later) {
  const known = new Map(); // the classes of all held-out pictures, by settings
  const spread = (n) => (n * 2654435761) % 2 ** 32, order = Array.from({ length: it.total }, (_, n) => n);
  order.sort((a, b) => spread(a) - spread(b));
  let judged = "", found = [];
  return {
    known,
    of: (key) => known.get(key) ?? (key === judged ? found : []),
    see(key, settings, quick) { // a slider on its way passes by what nobody will look at
      if (key === judged) return;
      it.workers.drop();
      const own = found = known.get(key) ?? new Array(it.total), there = known.has(key);
      it.done = there ? it.total : 0;
      judged = there || !quick ? key : "";
      if (there || quick) return;
      for (let from = 0; from < it.total; from += SLICE) {
        const rows = order.slice(from, from + SLICE);
        it.workers.ask({ settings, rows }).then(({ classes }) => {
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
