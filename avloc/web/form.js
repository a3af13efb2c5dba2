"use strict";
// Send a clip > poll its state > show its timeline. The server knows the clip by a token that only this page gets.
const POLL_MS = 700, TRIES = 8;
const MEDIA_TYPES = ["video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const element = (id) => document.getElementById(id);
const [form, file, drop, preview, record, start] = ["form", "file", "drop", "preview", "record", "start"].map(element);
let clip = null, recorder = null, limits = null;

// An error stands where the result would, in its place.
function showError(message) {
  element("error").textContent = message;
  element("error").hidden = !message;
  if (message) element("timeline").replaceChildren();
  if (message) element("error").scrollIntoView({ block: "nearest" });
}

function showProgress(fraction, text) {
  element("progress").hidden = false;
  if (fraction === null) element("bar").removeAttribute("value");
  else element("bar").value = fraction;
  element("status").textContent = text;
}

function sizeText(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function choose(chosen) {
  clip = chosen;
  preview.hidden = true;
  element("chosen").textContent = clip ? `${clip.name} (${sizeText(clip.size)})` : "Choose a clip, or drop it here";
  showError("");
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

async function fetchJson(path, headers = {}) {
  for (let attempt = 1; ; attempt++) {
    let response = null;
    try {
      response = await fetch(path, { cache: "no-store", headers });
    } catch (error) {
      if (attempt === TRIES) throw new Error("The server cannot be reached.");
      await new Promise((done) => setTimeout(done, POLL_MS * attempt));
      continue;
    }
    return answerOf(response);
  }
}

function upload(clip) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "clips");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-Clip-Name", encodeURIComponent(clip.name));
    request.upload.onprogress = (event) => showProgress(event.loaded / clip.size, `uploaded ${sizeText(event.loaded)} of ${sizeText(clip.size)}`);
    request.onerror = () => reject(new Error("The upload broke off; try again."));
    request.onload = () => answerOf(new Response(request.responseText, { status: request.status })).then((a) => resolve(a.token), reject);
    request.send(clip);
  });
}

async function waitFor(token) {
  for (;;) {
    const answer = await fetchJson(`clips/${token}`);
    if (answer.state === "done") return;
    if (answer.state === "failed") throw new Error(answer.text);
    if (answer.state === "running") showProgress(answer.fraction, answer.text || "decoding");
    else showProgress(null, answer.position === 1 ? "next in the queue" : `place ${answer.position} in the queue`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

// The frame is as high as the timeline in it, so that this page alone scrolls.
function fitHeight(frame) {
  const body = frame.contentDocument?.body, fit = () => { frame.style.height = `${Math.ceil(body.getBoundingClientRect().height) + 1}px`; };
  if (body) new ResizeObserver(fit).observe(body);
}

function showTimeline(token) {
  const frame = document.createElement("iframe");
  frame.title = "Timeline";
  frame.allow = "fullscreen";
  frame.addEventListener("load", () => fitHeight(frame));
  frame.src = `timeline/${token}/`;
  preview.hidden = true; // the timeline plays the clip
  element("timeline").replaceChildren(frame);
  element("result").scrollIntoView({ block: "start", behavior: "smooth" });
}

async function localize() {
  showError("");
  if (!clip) return showError("Choose a clip first.");
  start.disabled = record.disabled = true;
  element("timeline").replaceChildren();
  try {
    showProgress(0, "uploading");
    await fetchJson(`room?bytes=${clip.size}`, { "X-Clip-Name": encodeURIComponent(clip.name) });
    const token = await upload(clip);
    await waitFor(token);
    showTimeline(token);
  } catch (error) {
    showError(error.message);
  }
  element("progress").hidden = true;
  start.disabled = record.disabled = false;
}

async function startRecording() {
  if (!navigator.mediaDevices || !window.MediaRecorder) return showError("This browser records on pages of https or of this machine only.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  } catch (error) {
    return showError(`The camera or the microphone cannot be used: ${error.message}`);
  }
  const mimeType = MEDIA_TYPES.find((type) => MediaRecorder.isTypeSupported(type)), chunks = [];
  recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
  recorder.ondataavailable = (event) => chunks.push(event.data);
  recorder.onstop = () => {
    stream.getTracks().forEach((track) => track.stop());
    const type = recorder.mimeType.split(";")[0];
    choose(new File(chunks, type === "video/mp4" ? "recording.mp4" : "recording.webm", { type }));
    recorder = null;
    Object.assign(preview, { srcObject: null, src: URL.createObjectURL(clip), controls: true, muted: false, hidden: false });
    record.textContent = "Record again";
    start.disabled = false;
  };
  Object.assign(preview, { srcObject: stream, muted: true, controls: false, hidden: false });
  preview.play();
  recorder.start(1000);
  showError("");
  record.textContent = "Stop recording";
  start.disabled = true;
  const stopped = recorder;
  setTimeout(() => stopped.state === "recording" && stopped.stop(), (limits ? limits.minutes : 1) * 60000 - 2000);
}

form.addEventListener("submit", (event) => { event.preventDefault(); localize(); });
file.addEventListener("change", () => choose(file.files[0] || null));
record.addEventListener("click", () => (recorder ? recorder.stop() : startRecording()));
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}
fetchJson("room").catch(() => null).then((answer) => {
  limits = answer;
  if (limits && limits.network) element("network").textContent = limits.network;
  element("network").hidden = !(limits && limits.network);
  if (limits) element("limits").textContent = `Up to ${limits.megabytes} MB and ${+limits.minutes.toFixed(1)} minutes`;
});
