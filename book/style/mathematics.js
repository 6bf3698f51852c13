// Fetches MathJax once the widgets that can be seen are drawn (widget-host.js): it takes a slow processor seconds.
document.addEventListener("DOMContentLoaded", async () => {
  await globalThis.widgetsDrawn;
  document.head.append(Object.assign(document.createElement("script"), { src: mathematicsSource }));
});
const mathematicsSource = new URL("mathjax/tex-mml-chtml.js", document.currentScript.src);
