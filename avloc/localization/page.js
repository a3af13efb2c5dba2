"use strict";
// The page can be read without this script. It adds seeking, the threshold, the zoom and the keys.
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const settings = JSON.parse(one("#settings").textContent); // {start, end, threshold, unit}
const media = one("#clip"), lanes = one(".lanes"), playhead = one(".playhead"), statusLine = one("#status");
const threshold = one("#threshold"), zoom = one("#zoom");
const segments = all("tbody tr").map((row) => ({
  row, start: +row.dataset.start, end: +row.dataset.end, strength: +row.dataset.strength,
  marks: all(`.segment[data-segment="${row.dataset.segment}"]`), button: row.querySelector("button"),
}));
const timelineLength = settings.end - settings.start;
let now = settings.start, chosen = null;

const elements = (segment) => [segment.row, ...segment.marks];
const visible = () => segments.filter((segment) => !segment.row.hidden);

function formatTime(seconds) {
  const hundredths = Math.round(seconds * 100), whole = Math.floor(hundredths / 100), pad = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), rest = `${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}.${pad(hundredths % 100)}`;
  return hours ? `${hours}:${rest}` : rest;
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
  segments.forEach((segment) => elements(segment).forEach((element) => { element.hidden = segment.strength < least; }));
  if (chosen && chosen.row.hidden) clearChoice();
  one("#least").value = settings.unit === "probability" ? `${+(100 * least).toFixed(2)} %` : least.toFixed(2);
  one("#count").value = `${visible().length} of ${segments.length} segments`;
  one("#none").hidden = visible().length > 0;
}
function drawRuler() {
  const maxMarks = Math.max(2, lanes.offsetWidth / 90);
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const step = steps.find((seconds) => timelineLength / seconds <= maxMarks) || 14400;
  const marks = [];
  for (let seconds = Math.ceil(settings.start / step) * step; seconds < settings.end; seconds += step) {
    const mark = document.createElement("span");
    mark.style.left = `${(100 * (seconds - settings.start)) / timelineLength}%`;
    mark.textContent = formatTime(seconds).replace(/\.00$/, "");
    marks.push(mark);
  }
  one(".ruler").replaceChildren(...marks);
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
new ResizeObserver(drawRuler).observe(one(".scroll"));
threshold.value = settings.threshold;
applyThreshold(settings.threshold);
movePlayhead(settings.start);
document.documentElement.dataset.ready = "1";
