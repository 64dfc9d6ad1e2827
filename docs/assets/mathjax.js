// Formulas: MathJax is loaded from this site, and only on pages that have formulas.
window.MathJax = {
  tex: {inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]]},
  options: {enableMenu: false, ignoreHtmlClass: ".*|", processHtmlClass: "arithmatex"},
};
if (document.querySelector(".arithmatex")) {
  const script = document.createElement("script");
  script.src = new URL("mathjax/tex-mml-chtml.js", document.currentScript.src);
  document.head.append(script);
}
