// Fetches MathJax once the widgets that can be seen are drawn (widget-host.js): it takes a slow processor seconds.
document.addEventListener("DOMContentLoaded", async () => {
  await globalThis.widgetsDrawn;
  const script = Object.assign(document.createElement("script"), { src: mathematicsSource, async: true });
  script.onload = () => MathJax.startup.promise.then(() => dispatchEvent(new Event("typeset")));
  document.head.append(script);
});
const mathematicsSource = new URL("mathjax/tex-mml-chtml.js", document.currentScript.src);
