// The ledger's table: filters, search, order, rows that open; all of it stands in the address, so a link opens so.
(() => {
  const form = document.querySelector(".ledger-form"), table = document.querySelector(".ledger-claims");
  const rows = [...table.tBodies], place = new Map(rows.map((row, i) => [row, i]));
  const text = new Map(rows.map((row) => [row, `${row.id} ${row.textContent}`.toLowerCase()]));
  const selects = [...form.querySelectorAll("select")], heads = [...table.querySelectorAll("thead button")];
  const fields = [...selects, form.q, form.sort];
  const rank = (row, key) => [...form.elements[key].options].findIndex(({ value }) => value === row.dataset[key]);

  function apply() {
    const words = form.q.value.toLowerCase().split(" "), down = form.sort.value.startsWith("-");
    const key = form.sort.value.slice(down), sign = down ? -1 : 1;
    for (const row of rows)
      row.hidden = !words.every((word) => text.get(row).includes(word))
        || selects.some(({ name, value }) => value && !row.dataset[name].split("|").includes(value));
    rows.sort((a, b) => (key in form.elements ? sign * (rank(a, key) - rank(b, key)) || place.get(a) - place.get(b)
      : sign * (place.get(a) - place.get(b))));
    table.append(...rows);
    for (const head of heads) head.dataset.order = head.value !== key ? "" : down ? "descending" : "ascending";
    form.querySelector("output").value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
  }
  function remember(hash) {
    const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value)).toString();
    if ("content_root" in document.documentElement.dataset) // the book's page; a notebook's address is not ours
      history.replaceState(null, "", location.pathname + (asked && `?${asked}`) + hash);
  }
  const change = () => { apply(); remember(""); };
  const clear = () => { for (const field of fields) field.value = ""; };
  function open() { // the row that the address names, even where a filter hides it
    const row = rows.find(({ id }) => `#${id}` === location.hash);
    if (!row) return;
    if (row.hidden) { clear(); apply(); }
    row.querySelector("details").open = true;
    row.scrollIntoView();
  }

  for (const [name, value] of new URLSearchParams(location.search))
    for (const field of fields) if (field.name === name) field.value = value;
  if (innerWidth < 640) // or a phone would scroll past five paragraphs to the first row
    for (const source of document.querySelectorAll(".ledger-source")) source.open = false;
  form.hidden = false;
  form.oninput = change;
  form.onsubmit = () => false;
  form.querySelector("button").onclick = () => { clear(); change(); };
  for (const head of heads) {
    head.disabled = false;
    head.onclick = () => { form.sort.value = (form.sort.value === head.value ? "-" : "") + head.value; change(); };
  }
  table.onclick = ({ target }) => { // anywhere in a row, unless text is being selected
    const details = !target.closest("a, details, thead") && target.closest("tbody").querySelector("details");
    if (details && !`${getSelection()}`) details.open = !details.open;
  };
  table.addEventListener("toggle", ({ target }) => target.open && remember(`#${target.closest("tbody").id}`), true);
  addEventListener("hashchange", open);
  apply();
  open();
})();
