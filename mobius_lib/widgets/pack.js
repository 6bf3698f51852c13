// What a widget fetches only when its reader asks for it: files, and the program of its workers. In the book's page
// they lie beside it, as a script (which a browser also reads from disk); elsewhere a kernel sends them.

const PATIENCE = 20000; // ms
const packs = {};

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

function fromPage(root, name) {
  return packs[name] ??= new Promise((done, fail) => {
    const src = `${root}_static/${name}.js`, script = el("script", { src });
    script.onload = () => {
      const { engine, files } = globalThis.mobiusPacks[name];
      done({ engine, files: Object.fromEntries(Object.entries(files).map(([k, text]) => [k, bytes(text)])) });
    };
    script.onerror = () => { delete packs[name]; fail(`${src} is not there.`); };
    document.head.append(script);
  });
}

function fromKernel(model) {
  return new Promise((done, fail) => {
    if (!model.send) return fail("This page has neither its files nor a kernel.");
    const late = setTimeout(() => fail("No kernel answered; run the cell again, or open the book's page."), PATIENCE);
    const hear = ({ engine, names }, buffers) => {
      if (!engine) return;
      clearTimeout(late);
      model.off("msg:custom", hear);
      done({ engine, files: Object.fromEntries(names.map((k, i) => [k, new Uint8Array(buffers[i].buffer,
        buffers[i].byteOffset, buffers[i].byteLength).slice().buffer])) });
    };
    model.on("msg:custom", hear);
    model.send({ ask: "files" });
  });
}

function fetchPack(model, name) {
  const root = document.documentElement.dataset.content_root;
  return root === undefined || !name ? fromKernel(model) : fromPage(root, name);
}

// The button that fetches a network; `ready` gets its pack and what belongs to it, `failed` why there is none.
function loader({ button }, model, ready, failed) {
  const b = button(() => {
    b.disabled = true;
    tell(b, "Loading …");
    fetchPack(model, model.get("pack")).then((pack) => {
      ready(pack, JSON.parse(new TextDecoder().decode(pack.files.facts)));
      b.remove();
    }).catch((error) => {
      b.hidden = true;
      failed(error.message || error);
    });
  }, `Load the trained network (${num(model.get("megabytes"), 1)} MB)`);
  b.className = "mw-load";
  return b;
}

// Workers that answer one job after the other. `ask` gives a promise of the answer; what is asked `first` goes ahead;
// jobs of one `home` go to one worker, which is told that they are its `own`, unless another would be idle; `drop` forgets
// the rest, as far as no worker has begun it.
function pool({ engine, files }, failed, most = 4) {
  const script = engine.replaceAll("export ", ""); // from a disk, no worker starts as a module
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" })), idle = [], open = {};
  let waiting = [], number = 0;
  const next = () => {
    while (idle.length && waiting.length) {
      const worker = idle.pop(), mine = waiting.findIndex(({ first, job }) =>
        first || job.home % count === workers.indexOf(worker));
      const [{ job, done }] = waiting.splice(Math.max(mine, 0), 1);
      open[++number] = done;
      worker.postMessage({ number, own: mine >= 0, ...job });
    }
  };
  const count = clamp((navigator.hardwareConcurrency || 2) - 1, 1, most);
  const workers = Array.from({ length: count }, () => {
    const worker = new Worker(url);
    worker.onerror = (e) => failed(e.message || "This browser starts no worker.");
    worker.onmessage = ({ data }) => {
      if (data.failed) return failed(data.failed);
      idle.push(worker);
      open[data.number]?.(data);
      delete open[data.number];
      next();
    };
    worker.postMessage({ number: 0, files });
    return worker;
  });
  return {
    count,
    ask: (job, first = false) => new Promise((done) => {
      waiting[first ? "unshift" : "push"]({ job, first, done });
      next();
    }),
    drop: () => { waiting = waiting.filter(({ first }) => first); },
    close: () => {
      workers.forEach((worker) => worker.terminate());
      URL.revokeObjectURL(url);
    },
  };
}
