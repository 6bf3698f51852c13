// What a narrow screen needs. A table that is wider than its column becomes cards: each row a block, each value beside the
// name of its column (book.css). And no number is broken: between "9.4e-" and "02" a browser may begin a new line.
document.addEventListener("DOMContentLoaded", () => {
  const tables = [...document.querySelectorAll("article .pst-scrollable-table-container > table")];
  for (const table of tables) {
    const names = [...table.querySelectorAll("thead th")].map((name) => name.textContent.trim());
    const roles = { rowgroup: "thead, tbody", row: "tr", columnheader: "thead th", cell: "td" };
    table.setAttribute("role", "table"); // a table that is drawn as blocks stays one for those who hear it
    for (const [role, which] of Object.entries(roles))
      for (const part of table.querySelectorAll(which)) part.setAttribute("role", role);
    for (const row of table.querySelectorAll("tbody tr"))
      [...row.cells].forEach((cell, i) => { if (i && names[i]) cell.dataset.name = names[i]; });
  }
  const fit = () => {
    for (const table of tables) {
      table.classList.remove("cards");
      const { scrollWidth, clientWidth } = table.parentElement;
      table.classList.toggle("cards", innerWidth < 600 && scrollWidth > clientWidth + 1);
    }
  };
  fit();
  addEventListener("resize", fit);
  addEventListener("load", fit); // letters of another font are wider

  const texts = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) if (/\de-\d/.test(texts.currentNode.data)) found.push(texts.currentNode);
  for (const text of found) {
    if (text.parentElement.closest("script, style, svg, .mi, .mf")) continue; // in code a number is a word of its own
    const parts = text.data.split(/([\d.]+e-\d+)/).map((part, i) =>
      i % 2 ? Object.assign(document.createElement("span"), { className: "number", textContent: part }) : part);
    text.replaceWith(...parts);
  }
});
