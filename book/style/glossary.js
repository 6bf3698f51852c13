// Shows an entry of the glossary beside a link to it, while pointer or focus rests there; Escape closes it. A page that is
// read from disk may fetch nothing: there the link only leads to the entry.
document.addEventListener("DOMContentLoaded", () => {
  const links = document.querySelectorAll("article a[href*='glossary.html#']");
  if (!links.length || !location.protocol.startsWith("http")) return;
  const box = Object.assign(document.createElement("div"), { id: "glossary-entry", role: "tooltip", hidden: true });
  document.body.append(box);
  let page, open, closing;

  const entry = async ({ href }) => {
    page ??= fetch(href.split("#")[0])
      .then((answer) => answer.text())
      .then((text) => new DOMParser().parseFromString(text, "text/html"));
    return (await page).getElementById(decodeURIComponent(new URL(href).hash.slice(1)))?.querySelector("p");
  };
  const close = () => {
    open?.removeAttribute("aria-describedby");
    open = undefined;
    box.hidden = true;
  };
  const rest = () => clearTimeout(closing);
  const leave = () => { closing = setTimeout(close, 200); }; // time enough to reach the entry itself
  const show = async ({ currentTarget: link }) => {
    rest();
    const found = await entry(link);
    if (!found || !link.matches(":hover, :focus-visible")) return;
    close();
    open = link;
    link.setAttribute("aria-describedby", box.id);
    box.replaceChildren(document.importNode(found, true));
    window.MathJax?.typesetPromise?.([box]);
    box.hidden = false;
    const at = link.getBoundingClientRect();
    box.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8))}px`;
    box.style.top = `${at.bottom + scrollY + 4}px`;
  };

  for (const link of links) {
    for (const event of ["mouseenter", "focus"]) link.addEventListener(event, show);
    for (const event of ["mouseleave", "blur"]) link.addEventListener(event, leave);
  }
  box.addEventListener("mouseenter", rest);
  box.addEventListener("mouseleave", leave);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
});
