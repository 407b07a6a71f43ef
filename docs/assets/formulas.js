// Renders the formulas of a page, which pymdownx.arithmatex and docs/notebooks.py have marked with a class.
// MathJax is a megabyte, so only pages with formulas load it; no part of it is fetched from elsewhere.
{
  const here = document.currentScript.src;
  const formulas = document.querySelectorAll(".arithmatex");

  // A formula inside a line cannot be broken: one that is wider than its line scrolls in a box of its own.
  const fit = () => {
    const lines = [...document.querySelectorAll("mjx-container:not([display])")];
    lines.forEach((line) => line.classList.remove("wide"));
    const width = (line) => line.closest("p, li, td, dd, h1, h2, h3, h4, div").getBoundingClientRect().width;
    lines
      .filter((line) => line.getBoundingClientRect().width > width(line))
      .forEach((line) => line.classList.add("wide"));
  };

  window.MathJax = {
    tex: {
      inlineMath: [["\\(", "\\)"]],
      displayMath: [["\\[", "\\]"]],
      processEnvironments: false,
      // What is not known is an error that can be seen and tested, not something to fetch or to show in red.
      packages: { "[-]": ["autoload", "require", "noerrors", "noundefined"] },
    },
    chtml: { scale: 0.95 },
    options: { enableMenu: false, ignoreHtmlClass: ".*", processHtmlClass: "arithmatex" },
    startup: {
      elements: [...formulas],
      pageReady: async () => {
        await MathJax.startup.defaultPageReady();
        fit();
        addEventListener("resize", fit);
        document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
        document.documentElement.dataset.formulas = "rendered";
      },
    },
  };

  if (formulas.length) {
    const script = document.createElement("script");
    script.id = "MathJax-script"; // by this name it finds its own address, and by that its fonts
    script.src = new URL("mathjax/tex-chtml.js", here).href;
    document.head.append(script);
  } else {
    document.documentElement.dataset.formulas = "none";
  }
}
