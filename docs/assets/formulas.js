// Renders the formulas of a page once it is loaded. Markdown pages mark theirs (pymdownx.arithmatex);
// notebooks leave bare dollars, which are honoured inside notebook text only.
document.addEventListener("DOMContentLoaded", () => {
  const bracketed = [
    { left: "\\[", right: "\\]", display: true },
    { left: "\\(", right: "\\)", display: false },
  ];
  const dollars = [
    { left: "$$", right: "$$", display: true },
    { left: "$", right: "$", display: false },
  ];
  const render = (selector, delimiters) =>
    document.querySelectorAll(selector).forEach((element) => renderMathInElement(element, { delimiters }));
  render(".arithmatex", bracketed);
  render(".jupyter-wrapper .jp-RenderedMarkdown", [...dollars, ...bracketed]);
});
