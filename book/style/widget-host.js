// Runs the widgets of a page, in which there is no kernel. What the notebook left of each lies in the page: its values,
// its module and its style sheet (anywidget's `_esm` and `_css`). A widget is drawn when it comes near the screen, or
// else when the browser has nothing to do, and in the order of the page, which names them in addresses (shared.js).
(() => {
  const of = (kind) => `script[type="application/vnd.jupyter.widget-${kind}+json"]`;
  let states;
  const stateOf = (id) => (states ??= Object.assign({}, ...[...document.querySelectorAll(of("state"))]
    .map((script) => JSON.parse(script.textContent).state)))[id];

  const same = (a, b) => a === b || (!ArrayBuffer.isView(a) && !ArrayBuffer.isView(b) &&
    JSON.stringify(a) === JSON.stringify(b));

  function values({ state, buffers = [] }) { // with what is binary in its place, as anywidget has it
    for (const { path, data } of buffers) {
      const inside = path.slice(0, -1).reduce((all, key) => all[key], state);
      inside[path.at(-1)] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    }
    return state;
  }

  function modelOf(state) { // anywidget's model, as far as it has a meaning without a kernel
    let heard = [];
    const tell = (event, ...told) => heard.filter(([name]) => name === event).forEach(([, f]) => f(...told));
    const model = {
      get: (key) => state[key],
      set: (key, value) => {
        if (same(state[key], value)) return;
        state[key] = value;
        tell(`change:${key}`, model, value);
        tell("change", model);
      },
      on: (name, f) => { heard.push([name, f]); },
      off: (name, f) => { heard = heard.filter(([n, g]) => (name && n !== name) || (f && g !== f)); },
      save_changes: () => {},
      send: () => {},
    };
    return model;
  }

  const once = (make, kept = {}) => (key) => (kept[key] ??= make(key));
  const moduleOf = once(async (text) => { // a module may come from a blob also where the page comes from a disk
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const { default: widget } = await import(url);
    URL.revokeObjectURL(url);
    return typeof widget === "function" ? widget() : widget;
  });
  const styled = once((textContent) => {
    const sheet = Object.assign(document.createElement("style"), { textContent });
    document.head.append(sheet);
    return sheet;
  });
  const { signal } = new AbortController(); // anywidget's sign that a view goes; here none does
  const widgetOf = once(async (id) => {
    const found = stateOf(id);
    if (found?.model_module !== "anywidget")
      throw new Error(found ? `it is one of ${found.model_module}` : "its state is not in the page");
    const model = modelOf(values(found)), widget = await moduleOf(model.get("_esm"));
    await widget.initialize?.({ model, signal });
    return { model, widget };
  });

  const frame = () => new Promise((next) => { // in a hidden tab there is none
    requestAnimationFrame(next);
    setTimeout(next, 500);
  });

  async function draw({ area, id }) {
    try {
      const { model, widget } = await widgetOf(id), el = area.appendChild(document.createElement("div"));
      styled(model.get("_css"));
      await widget.render({ model, el, signal });
      for (let frames = 0; frames < 2; frames++) await frame(); // widgets draw in one
    } catch (error) {
      console.error(error);
      area.textContent = `This widget cannot be shown here (${error.message ?? error}); its cell shows it in ` +
        "JupyterLab and in Colab.";
    }
    area.classList.add("shown"); // it has its own height now
  }

  const places = [...document.querySelectorAll(of("view"))].map((script) => {
    const area = Object.assign(document.createElement("div"), { className: "widget-subarea" });
    const id = JSON.parse(script.textContent).model_id;
    area.classList.toggle("small", "pack" in (stateOf(id)?.state ?? {})); // a button, until its network is asked for
    script.replaceWith(area);
    return { area, id };
  });
  let begun = 0, last = Promise.resolve();
  const upTo = (count) => {
    for (; begun < count; begun++) last = last.then(draw.bind(null, places[begun]));
    return last;
  };

  const idle = globalThis.requestIdleCallback ?? ((f) => setTimeout(f, 200));
  const rest = () => { if (begun < places.length) upTo(begun + 1).then(() => idle(rest)); };
  globalThis.widgetsDrawn = new Promise((done) => { // those near the first screen; mathematics.js waits for them
    const near = new IntersectionObserver((seen) => {
      const at = seen.map(({ isIntersecting, target }) => isIntersecting && 1 + areas.indexOf(target));
      upTo(Math.max(0, ...at)).then(done);
    }, { rootMargin: "100% 0px" });
    const areas = places.map(({ area }) => area);
    for (const area of areas) near.observe(area);
    if (!areas.length) done(); // of a page that shows none of its widgets
  });
  if (location.search) upTo(places.length); // an address may bring values for any of them
  addEventListener("load", () => globalThis.widgetsDrawn.then(() => idle(rest)));
})();
