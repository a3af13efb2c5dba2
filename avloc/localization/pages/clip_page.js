"use strict";
// The page can be read without this script. It adds seeking, the threshold, the zoom and the keys.
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const settings = JSON.parse(one("#settings").textContent); // {start, end, threshold, unit}
const media = one("#clip"), lanes = one(".lanes"), playhead = one(".playhead"), statusLine = one("#status");
const threshold = one("#threshold"), zoom = one("#zoom");
const segments = all("tr[data-segment]").map((row) => ({
  row, start: +row.dataset.start, end: +row.dataset.end, strength: +row.dataset.strength,
  marks: all(`.segment[data-segment="${row.dataset.segment}"]`), button: row.querySelector("button"),
  stills: all(`.still[data-segment="${row.dataset.segment}"]`),
}));
const timelineLength = settings.end - settings.start;
let now = settings.start, chosen = null;

const elements = (segment) => [segment.row, ...segment.marks];
const visible = () => segments.filter((segment) => !segment.row.hidden);

// Seconds, as in the table and on the ruler; from a minute on with the clock that players show.
function formatTime(seconds) {
  if (settings.end < 60) return `${seconds.toFixed(2)} s`;
  const whole = Math.floor(seconds), pad = (n) => String(n).padStart(2, "0"), hours = Math.floor(whole / 3600);
  const clock = hours ? `${hours}:${pad(Math.floor(whole / 60) % 60)}` : Math.floor(whole / 60);
  return `${seconds.toFixed(2)} s (${clock}:${pad(whole % 60)})`;
}
function movePlayhead(seconds) {
  now = Math.min(Math.max(seconds, settings.start), settings.end);
  playhead.style.left = `${(100 * (now - settings.start)) / timelineLength}%`;
  one("#now").textContent = formatTime(now);
}
function seek(seconds) {
  movePlayhead(seconds);
  if (media && media.readyState > 0) media.currentTime = now;
  else if (media) media.addEventListener("loadedmetadata", () => { media.currentTime = now; }, { once: true });
}
function clearChoice() {
  if (chosen) elements(chosen).forEach((element) => element.classList.remove("chosen"));
  chosen = null;
}
function choose(segment) {
  clearChoice();
  chosen = segment;
  elements(segment).forEach((element) => element.classList.add("chosen"));
  seek(segment.start);
  const box = one(".scroll"), x = ((segment.start - settings.start) / timelineLength) * lanes.offsetWidth;
  if (x < box.scrollLeft || x > box.scrollLeft + box.clientWidth) box.scrollLeft = x - box.clientWidth / 3;
  statusLine.textContent = segment.row.dataset.status;
}
function chooseNext(direction) {
  const candidates = visible(), index = chosen ? candidates.indexOf(chosen) : -1;
  let next;
  if (index >= 0) next = candidates[index + direction];
  else if (direction > 0) next = candidates.find((segment) => segment.start >= now);
  else next = candidates.findLast((segment) => segment.start < now);
  if (next) choose(next);
  else statusLine.textContent = direction > 0 ? "No later segment" : "No earlier segment";
}
function applyThreshold(least) {
  segments.forEach((segment) => [...elements(segment), ...segment.stills].forEach((element) => { element.hidden = segment.strength < least; }));
  if (chosen && chosen.row.hidden) clearChoice();
  one("#least").value = settings.unit === "probability" ? `${+(100 * least).toFixed(2)} %` : least.toFixed(2);
  one("#count").value = `${visible().length} of ${segments.length} segments`;
  one("#none").hidden = visible().length > 0;
}
function drawRuler() {
  const maxMarks = Math.max(2, lanes.offsetWidth / 70);
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
  const step = steps.find((seconds) => timelineLength / seconds <= maxMarks) || 10000;
  const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0, marks = [];
  const last = settings.end - (36 * timelineLength) / lanes.offsetWidth; // a label needs some 36 pixels
  for (let k = Math.ceil(settings.start / step - 1e-9); k * step < last; k++) {
    const mark = document.createElement("span");
    mark.style.left = `${(100 * (k * step - settings.start)) / timelineLength}%`;
    mark.textContent = (k * step).toFixed(digits);
    marks.push(mark);
  }
  one(".lanes .ruler").replaceChildren(...marks);
}
function download(button) {
  const link = document.createElement("a"), { file, type, content } = button.dataset;
  link.href = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

lanes.addEventListener("click", (event) => {
  const mark = event.target.closest(".segment");
  const segment = mark && segments.find((candidate) => candidate.marks.includes(mark));
  if (segment) { choose(segment); return; }
  const box = lanes.getBoundingClientRect();
  seek(settings.start + ((event.clientX - box.left) / box.width) * timelineLength);
});
segments.forEach((segment) => segment.button.addEventListener("click", () => choose(segment)));
threshold.addEventListener("input", () => applyThreshold(+threshold.value));
zoom.addEventListener("input", () => {
  const box = one(".scroll"), middle = (box.scrollLeft + box.clientWidth / 2) / lanes.offsetWidth, factor = 2 ** +zoom.value;
  lanes.style.width = `${100 * factor}%`;
  one("#zoomed").value = `${factor.toFixed(factor < 10 ? 1 : 0)}×`;
  box.scrollLeft = middle * lanes.offsetWidth - box.clientWidth / 2;
  drawRuler();
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, video, audio")) return;
  if (event.key === "ArrowRight") chooseNext(1);
  else if (event.key === "ArrowLeft") chooseNext(-1);
  else if (event.key === " " && media && !event.target.matches("button")) { if (media.paused) media.play().catch(() => {}); else media.pause(); }
  else return;
  event.preventDefault();
});
if (media) {
  media.addEventListener("timeupdate", () => movePlayhead(media.currentTime));
  const reportUnplayable = () => { one("#unplayable").hidden = false; media.hidden = true; };
  media.addEventListener("error", reportUnplayable);
  if (media.error) reportUnplayable();
}
all(".downloads [data-content]").forEach((button) => button.addEventListener("click", () => download(button)));
one("#print").addEventListener("click", () => print());
document.documentElement.classList.toggle("framed", window.parent !== window);
new ResizeObserver(drawRuler).observe(one(".scroll"));
threshold.value = settings.threshold;
applyThreshold(settings.threshold);
movePlayhead(settings.start);
document.documentElement.dataset.ready = "1";
