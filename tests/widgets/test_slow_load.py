"""Changes from Python reach the picture also where the page was slow, in anywidget's own front end."""

import importlib.resources
import json
from typing import Any

import pytest

from mobius_lib.widgets import CantorExplorer

PAGE = """<!doctype html><meta charset="utf-8"><div id="one"></div><script>
  // What anywidget's front end builds on, as far as it uses it: a model with its messages, and a view.
  class DOMWidgetModel {
    constructor(state, comm, manager) {
      Object.assign(this, { state, comm, widget_manager: manager, listeners: [] });
      comm.on_msg(this._handle_comm_msg.bind(this));
      this.initialize();
    }
    initialize() {}
    get(k) { return this.state[k]; }
    set(k, v) { this.state[k] = v; this.listeners.filter(([name]) => name === "change:" + k).forEach(([, f]) => f()); }
    on(name, f, context) { this.listeners.push([name, f, context]); }
    once() {}
    off(name, f, context) {
      const differs = (given, own) => given && given !== own;
      this.listeners = this.listeners.filter(([n, g, c]) => differs(name, n) || differs(f, g) || differs(context, c));
    }
    save_changes() {}
    send() {}
    async _handle_comm_msg({ content: { data } }) {
      if (data.method === "update") for (const [k, v] of Object.entries(data.state)) this.set(k, v);
    }
  }
  class DOMWidgetView {
    constructor(model, el) { Object.assign(this, { model, el, $el: { empty: () => el.replaceChildren() } }); }
    remove() {}
  }
  const state = STATE, kernel = { ...state };
  let heard = () => {};
  const comm = {
    on_msg: (f) => { heard = f; },
    send: ({ method }) => { if (method === "request_state") say({ ...kernel }); },
  };
  const say = (state) => Promise.resolve(heard({ content: { data: { method: "update", state } } })).catch(() => {});
  window.python = (name, value) => { kernel[name] = value; return say({ [name]: value }); };
  const patient = AbortSignal.timeout.bind(AbortSignal);
  if (SLOW) AbortSignal.timeout = () => patient(0); // a page on which two seconds pass before the module is there
  window.define = (_, factory) => {
    const { AnyModel, AnyView } = factory({ DOMWidgetModel, DOMWidgetView });
    const create = URL.createObjectURL.bind(URL);
    URL.createObjectURL = (blob) => {
      const until = performance.now() + (SLOW ? 100 : 0);
      while (performance.now() < until);
      return create(blob);
    };
    const manager = { _models: {} }, model = new AnyModel(state, comm, manager);
    manager._models.own = Promise.resolve(model);
    window.open_view = () => new AnyView(model, document.getElementById("one")).render();
  };
</script><script src="anywidget.js"></script>"""


@pytest.mark.parametrize("slow", [False, True])
def test_a_change_before_and_after_the_module_came_reaches_the_picture(
    browser: Any, parameters: Any, slow: bool
) -> None:
    explorer = CantorExplorer()
    state = parameters(explorer) | {"_esm": explorer._esm, "_css": "", "_anywidget_id": "one"}
    front_end = importlib.resources.files("anywidget").joinpath("nbextension/index.js").read_text(encoding="utf-8")
    page = browser.new_page()
    body = PAGE.replace("STATE", json.dumps(state).replace("</", "<\\/")).replace("SLOW", str(slow).lower())
    page.route("http://widget.test/", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.route("http://widget.test/anywidget.js", lambda r: r.fulfill(body=front_end, content_type="text/javascript"))
    page.goto("http://widget.test/")
    page.evaluate("python('alpha', 0.7)")  # the module is not there yet, and no view
    page.wait_for_timeout(300)
    page.evaluate("open_view()")
    alpha = "document.querySelector('input[data-trait=alpha]')?.value"
    page.wait_for_function(f"{alpha} === '0.7'", timeout=10_000)
    page.evaluate("python('alpha', 0.9)")
    page.wait_for_function(f"{alpha} === '0.9'", timeout=10_000)
    page.close()
