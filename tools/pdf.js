async ([name, names, patience]) => {
  // Every place of a widget, or of what will be one, comes to have a picture; what is drawn once it is seen is seen.
  const widget = ":is(script[type='application/vnd.jupyter.widget-view+json'], .widget-subarea)";
  const places = new Set([...document.querySelectorAll(`article ${widget}`)].map((each) => each.parentElement));
  for (const place of places) {
    for (const begun = performance.now(); !place.querySelector(".widget-subarea :is(canvas, svg, img)"); ) {
      if (performance.now() - begun > patience) throw new Error(`a widget of ${name} is not drawn`);
      place.scrollIntoView();
      await new Promise((next) => setTimeout(next, 100));
    }
  }
  for (const each of document.querySelectorAll(".widget-subarea, img[loading=lazy]")) {
    each.scrollIntoView();
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next, 50)));
  }
  for (const begun = performance.now(); window.MathJax && !MathJax.startup?.promise; ) { // it comes after the widgets
    if (performance.now() - begun > patience) throw new Error(`the mathematics of ${name} is not typeset`);
    await new Promise((next) => setTimeout(next, 50));
  }
  await window.MathJax?.startup.promise;
  await new Promise((next) => setTimeout(next, 500));

  const article = document.querySelector("article");
  for (const canvas of article.querySelectorAll("canvas")) {
    const picture = new Image();
    picture.src = canvas.toDataURL();
    picture.alt = canvas.getAttribute("aria-label") ?? "what the widget shows";
    picture.className = canvas.className;
    picture.style.width = `${canvas.getBoundingClientRect().width}px`;
    canvas.replaceWith(picture);
  }
  for (const each of article.querySelectorAll(".toggle-hidden")) each.classList.remove("toggle-hidden");
  for (const each of article.querySelectorAll("details:not(.hide)")) each.open = true;
  const unprinted = "script, noscript, button, input, select, a.headerlink, details.hide:not([open])";
  for (const each of article.querySelectorAll(`${unprinted}, .widget-subarea :is(label, summary)`)) each.remove();
  for (const each of article.querySelectorAll("img")) each.src = each.src;

  // Anchors of different pages are kept apart by the page's name; a link to a page or into it stays within the book.
  for (const each of article.querySelectorAll("[id]:not(svg *)")) each.id = `${name}--${each.id}`;
  for (const link of article.querySelectorAll("a[href]")) {
    const page = link.href.split("#")[0].split("/").pop().replace(/\.html$/, "");
    const inside = link.href.startsWith(location.origin);
    if (inside && names.includes(page)) link.setAttribute("href", `#${page}${link.hash.replace("#", "--")}`);
    else if (inside) link.removeAttribute("href");
    else link.setAttribute("href", link.href);
  }
  const sheets = [...document.querySelectorAll("link[rel=stylesheet]")];
  const own = [...document.querySelectorAll("head style:not(#MJX-CHTML-styles)")].map((each) => each.outerHTML);
  const rules = [...(document.querySelector("#MJX-CHTML-styles")?.sheet?.cssRules ?? [])];
  return {
    title: article.querySelector("h1").textContent.trim(),
    body: article.innerHTML,
    styles: sheets.map((each) => `<link rel="stylesheet" href="${each.href}">`).concat(own).join(""),
    equations: rules.map((each) => each.cssText).join("\n"),
  };
};
