// What scrolls sideways can be reached with the keyboard, and has a name (WCAG 2.1.1, 4.1.2).
const BOXES = {
  code: ".md-typeset pre > code",
  table: ".md-typeset__scrollwrap, .md-typeset div.output",
  formula: ".md-typeset div.arithmatex, .md-typeset span.arithmatex > mjx-container",
};
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
new ResizeObserver(() => {  // the article's height changes with fonts, formulas and the window
  for (const [name, boxes] of Object.entries(BOXES)) {
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth;
      for (const [key, value] of [["tabindex", 0], ["role", "group"], ["aria-label", `${name}, scrolls sideways`]]) {
        if (scrolls) box.setAttribute(key, value); else box.removeAttribute(key);
      }
    }
  }
}).observe(document.querySelector("article"));
