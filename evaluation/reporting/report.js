"use strict";
// The page can be read without this script. It filters the gallery, and says which tables are wider than the screen.
const all = (selector) => [...document.querySelectorAll(selector)];
function showHints() {
  all(".wide").forEach((box) => { box.nextElementSibling.hidden = box.scrollWidth <= box.clientWidth + 1; });
}
all(".filter").forEach((form) => {
  const threshold = form.elements.threshold, value = (name) => form.elements[name]?.value ?? "all";
  const apply = () => {
    all(".gallery figure").forEach((figure) => {
      const matches = (name) => value(name) === "all" || figure.dataset[name] === value(name);
      figure.hidden = !(matches("end") && matches("kind"));
    });
    if (!threshold) return;
    all(".gallery .found").forEach((row) => row.toggleAttribute("hidden", +row.dataset.score < +threshold.value));
    form.querySelector("output").value = (+threshold.value).toFixed(3);
  };
  form.addEventListener("input", apply);
  apply();
});
new ResizeObserver(showHints).observe(document.body);
document.documentElement.dataset.ready = "1";
