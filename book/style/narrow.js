// What a narrow screen needs (book.css has the looks). A table that is wider than its column becomes cards, each row a
// block and each value beside the name of its column, where it holds sentences; one of numbers, which are there to be
// compared, stays a table, in smaller type, and scrolls beside its first column. On a wide screen it is only set tighter.
// Code that wraps goes on below its own beginning. And no number is broken: between "9.4e-" and "02" a browser may begin
// a new line, and between 5 and %.
// Tables and code are dressed as soon as the browser has read them, so that nobody sees them change.
{
  const tables = new Set();
  const dress = (table) => {
    const names = [...table.querySelectorAll("thead th")].map((name) => name.textContent.trim());
    const roles = { rowgroup: "thead, tbody", row: "tr", columnheader: "thead th", cell: "td" };
    table.setAttribute("role", "table"); // a table that is drawn as blocks stays one for those who hear it
    for (const [role, which] of Object.entries(roles))
      for (const part of table.querySelectorAll(which)) part.setAttribute("role", role);
    for (const row of table.querySelectorAll("tbody tr"))
      [...row.cells].forEach((cell, i) => {
        if (i && names[i]) cell.dataset.name = names[i];
        cell.classList.toggle("words", cell.textContent.length > 28);
      });
  };
  const ofNumbers = (table) => {
    const told = [...table.querySelectorAll("tbody td:not(:first-child)")].map((cell) => cell.textContent.trim());
    const numbers = told.filter((text) => text.length <= 28 && /\d/.test(text)).length;
    return told.every((text) => text.length <= 50) && numbers > told.filter(Boolean).length / 2;
  };
  const tooWide = (table) => table.parentElement.scrollWidth > table.parentElement.clientWidth + 1;
  const fit = (some) => { // all are measured before any is changed: to measure costs a layout
    for (const table of some) table.classList.remove("cards", "numbers", "tight");
    const wide = [...some].filter(tooWide);
    for (const table of wide) table.classList.add(innerWidth > 599 ? "tight" : ofNumbers(table) ? "numbers" : "cards");
    const scrolling = new Set([...some].filter(tooWide));
    for (const table of some) {
      if (scrolling.has(table)) table.parentElement.tabIndex = 0; // for the arrow keys
      else table.parentElement.removeAttribute("tabindex");
    }
  };
  const lines = (pre) => {
    const open = [], lines = [""];
    for (const [part] of pre.innerHTML.matchAll(/<[^>]*>|\n|[^<\n]+/g)) {
      if (part.startsWith("</")) open.pop();
      else if (part.startsWith("<")) open.push(part);
      lines[lines.length - 1] += part;
      if (part !== "\n") continue;
      lines[lines.length - 1] += open.map((tag) => `</${tag.match(/\w+/)[0]}>`).reverse().join("");
      lines.push(open.join(""));
    }
    pre.innerHTML = lines.filter(Boolean).map((line) => {
      const [first, { length }] = line.replace(/<[^>]*>/g, "").match(/^( *)[^ ]*/);
      const solid = first.length > 34 ? " solid" : ""; // it would break before its first word, and leave a line empty
      return `<span class="line${solid}" style="--indent:${Math.min(length, 24) + 2}ch">${line}</span>`;
    }).join("");
  };

  // About how wide a formula will be, in em: until it is typeset it takes that much room.
  const roomOf = (tex) => {
    const named = tex.replace(/\\[()]/g, "")
      .replace(/\\(?:le|ge|in|to|cdot|times|approx|ne|mapsto|pm)(?![a-zA-Z])/g, "=")
      .replace(/\\(?:b?mod|max|min|log|exp|sin|cos|tanh|arg|det)/g, (name) => `${name.replace(/\\b?/, "")}.`)
      .replace(/\\(?:text|math[a-z]+|operatorname|left|right|hat|bar|tilde|sqrt|t?frac|[,;! ])/g, "")
      .replace(/\\[a-zA-Z]+/g, "x");
    let em = 0;
    for (const [, sign, text] of named.matchAll(/([_^])?(\{[^{}]*\}|.)/g))
      for (const letter of text.replace(/[{}\\\s&]/g, ""))
        em += (sign ? 0.7 : 1) * (/[=<>+-]/.test(letter) ? (sign ? 0.9 : 1.47) : /[A-Z]/.test(letter) ? 0.86
          : /[a-z0-9/]/.test(letter) ? 0.59 : 0.46);
    return em;
  };
  const whole = (node) => // what was read to its end has something after it
    document.readyState !== "loading" || (node && (node.nextSibling !== null || whole(node.parentElement)));
  const seen = new Set();
  const dressed = (which, how) => {
    const found = [...document.querySelectorAll(which)].filter((node) => !seen.has(node) && whole(node));
    for (const node of found) {
      seen.add(node);
      how(node);
    }
    return found;
  };
  const look = () => {
    dressed("article div.highlight pre", lines);
    dressed("article span.math", (math) => math.style.setProperty("--room", `${roomOf(math.textContent)}em`));
    const found = dressed("article .pst-scrollable-table-container > table", dress);
    for (const table of found) tables.add(table);
    if (found.length && innerWidth < 600) fit(found); // else there is time until the page is there
  };
  const reading = new MutationObserver(look);
  reading.observe(document, { childList: true, subtree: true });
  document.addEventListener("DOMContentLoaded", () => {
    reading.disconnect();
    look();
  });
  const again = () => fit(tables);
  addEventListener("resize", again);
  addEventListener("toggle", again, true); // what is folded has no width
  addEventListener("typeset", again); // formulas, and letters of another font, are wider or narrower
  addEventListener("load", () => (globalThis.requestIdleCallback ?? setTimeout)(again));
}
document.addEventListener("DOMContentLoaded", () => {
  const texts = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  const found = [], shares = [];
  while (texts.nextNode()) {
    if (/\de-\d/.test(texts.currentNode.data)) found.push(texts.currentNode);
    if (/\d %/.test(texts.currentNode.data)) shares.push(texts.currentNode);
  }
  for (const text of shares) // nor from its sign, which would begin the next line
    if (!text.parentElement.closest("script, style, svg, pre, code"))
      text.data = text.data.replace(/(\d) %/g, "$1\u00a0%");
  for (const text of found) {
    if (text.parentElement.closest("script, style, svg, .mi, .mf")) continue; // in code a number is a word of its own
    const parts = text.data.split(/([\d.]+e-\d+)/).map((part, i) =>
      i % 2 ? Object.assign(document.createElement("span"), { className: "number", textContent: part }) : part);
    text.replaceWith(...parts);
  }
});
