"use strict";
// The page is whole without this: it adds seeking, the threshold, the zoom and the keys.
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const about = JSON.parse(one("#about").textContent); // {start, end, threshold}
const media = one("#clip"), lanes = one(".lanes"), playhead = one(".playhead"), said = one("#said");
const threshold = one("#threshold"), zoom = one("#zoom");
const rows = all("tbody tr").map((row) => ({
  row, start: +row.dataset.start, end: +row.dataset.end, score: +row.dataset.score,
  marks: all(`.segment[data-segment="${row.dataset.segment}"]`), button: row.querySelector("button"),
}));
let now = about.start, chosen = null;

const clock = (seconds) => {
  const hundredths = Math.round(seconds * 100), whole = Math.floor(hundredths / 100), two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), rest = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}.${two(hundredths % 100)}`;
  return hours ? `${hours}:${rest}` : rest;
};
const shown = () => rows.filter((r) => !r.row.hidden);

function place(seconds) {
  now = Math.min(Math.max(seconds, about.start), about.end);
  playhead.style.left = `${(100 * (now - about.start)) / (about.end - about.start)}%`;
  one("#now").textContent = clock(now);
}
function seek(seconds) {
  place(seconds);
  if (media && media.readyState > 0) media.currentTime = now;
  else if (media) media.addEventListener("loadedmetadata", () => { media.currentTime = now; }, { once: true });
}
function choose(r) {
  if (chosen) [chosen.row, ...chosen.marks].forEach((e) => e.classList.remove("chosen"));
  chosen = r;
  [r.row, ...r.marks].forEach((e) => e.classList.add("chosen"));
  seek(r.start);
  const box = one(".scroll"), x = ((r.start - about.start) / (about.end - about.start)) * lanes.offsetWidth;
  if (x < box.scrollLeft || x > box.scrollLeft + box.clientWidth) box.scrollLeft = x - box.clientWidth / 3;
  said.textContent = r.row.dataset.said;
}
function step(direction) {
  const list = shown(), from = chosen && list.includes(chosen) ? list.indexOf(chosen) : null;
  let next;
  if (from !== null) next = list[from + direction];
  else next = direction > 0 ? list.find((r) => r.start >= now) : list.findLast((r) => r.start < now);
  if (next) choose(next);
  else said.textContent = direction > 0 ? "No later segment" : "No earlier segment";
}
function filter() {
  const least = +threshold.value;
  rows.forEach((r) => [r.row, ...r.marks].forEach((e) => { e.hidden = r.score < least; }));
  if (chosen && chosen.row.hidden) { [chosen.row, ...chosen.marks].forEach((e) => e.classList.remove("chosen")); chosen = null; }
  one("#least").value = least.toFixed(2);
  one("#count").value = `${shown().length} of ${rows.length} segments`;
  one("#none").hidden = shown().length > 0;
}
function ruler() {
  const width = lanes.offsetWidth, length = about.end - about.start, most = Math.max(2, width / 90);
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => length / s <= most) || 14400;
  const marks = [];
  for (let t = Math.ceil(about.start / step) * step; t < about.end; t += step) {
    const mark = document.createElement("span");
    mark.style.left = `${(100 * (t - about.start)) / length}%`;
    mark.textContent = clock(t).replace(/\.00$/, "");
    marks.push(mark);
  }
  one(".ruler").replaceChildren(...marks);
}

lanes.addEventListener("click", (event) => {
  const mark = event.target.closest(".segment");
  const r = mark && rows.find((row) => row.marks.includes(mark));
  if (r) { choose(r); return; }
  const box = lanes.getBoundingClientRect();
  seek(about.start + ((event.clientX - box.left) / box.width) * (about.end - about.start));
});
rows.forEach((r) => r.button.addEventListener("click", () => choose(r)));
threshold.addEventListener("input", filter);
zoom.addEventListener("input", () => {
  const box = one(".scroll"), middle = (box.scrollLeft + box.clientWidth / 2) / lanes.offsetWidth, factor = 2 ** +zoom.value;
  lanes.style.width = `${100 * factor}%`;
  one("#zoomed").value = `${factor.toFixed(factor < 10 ? 1 : 0)}×`;
  box.scrollLeft = middle * lanes.offsetWidth - box.clientWidth / 2;
  ruler();
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, video, audio")) return;
  if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === " " && media && !event.target.matches("button")) { if (media.paused) media.play().catch(() => {}); else media.pause(); }
  else return;
  event.preventDefault();
});
if (media) {
  media.addEventListener("timeupdate", () => place(media.currentTime));
  const broken = () => { one("#unplayable").hidden = false; media.hidden = true; };
  media.addEventListener("error", broken);
  if (media.error) broken();
}
new ResizeObserver(ruler).observe(one(".scroll"));
threshold.value = about.threshold;
filter();
place(about.start);
document.documentElement.dataset.ready = "1";
