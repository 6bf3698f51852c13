// Shows an entry of the glossary beside a link to it, while pointer or focus rests there; Escape closes it. The entries
// come in a script of their own (tools/glossary.py), for a page that is read from disk may fetch nothing else.
const glossaryEntries = new URL("glossary-entries.js", document.currentScript.src);
document.addEventListener("DOMContentLoaded", () => {
  const links = document.querySelectorAll("article a[href*='glossary.html#']");
  if (!links.length) return;
  const box = Object.assign(document.createElement("div"), { id: "glossary-entry", role: "tooltip", hidden: true });
  document.body.append(box);
  let entries, open, closing;

  const entry = async ({ hash }) => {
    entries ??= new Promise((done) => {
      const script = Object.assign(document.createElement("script"), { src: glossaryEntries });
      script.onload = script.onerror = () => done(window.GLOSSARY ?? {});
      document.head.append(script);
    });
    return (await entries)[decodeURIComponent(hash.slice(1))];
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
    box.innerHTML = found;
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
