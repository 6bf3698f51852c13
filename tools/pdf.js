async ([name, names]) => {
  // What is drawn only once it is seen is seen; then MathJax and the widgets have their time.
  for (const each of document.querySelectorAll(".widget-subarea, img[loading=lazy]")) {
    each.scrollIntoView();
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next, 50)));
  }
  await window.MathJax?.startup?.promise;
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
    if (inside && names.includes(page)) link.setAttribute("href", link.hash ? `#${page}--${link.hash.slice(1)}` : `#${page}`);
    else if (inside) link.removeAttribute("href");
    else link.setAttribute("href", link.href);
  }
  const absolute = [...document.querySelectorAll("link[rel=stylesheet]")].map((each) => each.href);
  const own = [...document.querySelectorAll("head style")].filter((each) => each.id !== "MJX-CHTML-styles");
  return {
    title: article.querySelector("h1").textContent.trim(),
    body: article.innerHTML,
    styles: absolute.map((each) => `<link rel="stylesheet" href="${each}">`).join("") + own.map((e) => e.outerHTML).join(""),
    equations: [...(document.querySelector("#MJX-CHTML-styles")?.sheet?.cssRules ?? [])].map((e) => e.cssText).join("\n"),
  };
};
