"use strict";
// A clip opened: the video, its captions and series on one time axis, where it stands in its source, all its scores.

const CLIPS = REPORT.clips;
const waiting = new Map(), loaded = new Map();

function byId(id) { return document.getElementById(id); }

// An element with attributes and children. Text only ever becomes text: nothing that others wrote is parsed as HTML.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((c) => c !== null));
  return element;
}

function base(path) { return path.split("/").pop(); }

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds)), rest = String(whole % 60).padStart(2, "0");
  return `${Math.floor(whole / 60)}:${rest}`;
}

// The clip's own file where it was cut, else its span of the source, if that is on this disk.
function videoUrl(n) {
  if (CLIPS.file[n]) return `../${CLIPS.file[n]}`;
  const href = REPORT.sources[CLIPS.source[n]].href;
  return href ? `${href}#t=${CLIPS.start[n]},${CLIPS.end[n]}` : null;
}

function posterUrl(n) { return CLIPS.poster[n] ? `posters/${encodeURIComponent(CLIPS.id[n])}.jpg` : null; }

function player(n, playing) {
  const url = videoUrl(n);
  if (!url) return make("p", { class: "quiet" }, "The source is not on this disk, and no file was cut.");
  const video = make("video", { controls: "", preload: "metadata", playsinline: "", src: url, poster: posterUrl(n), "aria-label": `Clip ${CLIPS.id[n]}` });
  video.addEventListener("error", () => {
    video.replaceWith(make("p", { class: "quiet unplayable" }, `This browser cannot play ${base(REPORT.sources[CLIPS.source[n]].path)}.`));
  });
  if (playing) video.play().catch(() => {});
  return video;
}

window.detailsOf = (chunk, details) => {
  loaded.set(chunk, details);
  for (const resolve of waiting.get(chunk) || []) resolve(details);
  waiting.delete(chunk);
};

function details(n) {
  const chunk = Math.floor(n / 100);
  return new Promise((resolve, reject) => {
    if (loaded.has(chunk)) { resolve(loaded.get(chunk)[n % 100]); return; }
    if (!waiting.has(chunk)) {
      waiting.set(chunk, []);
      const script = make("script", { src: `details/${String(chunk).padStart(5, "0")}.js` });
      script.addEventListener("error", () => { waiting.delete(chunk); reject(new Error("details missing")); });
      document.head.append(script);
    }
    waiting.get(chunk).push((all) => resolve(all[n % 100]));
  });
}

function sparkline(values) {
  const known = values.filter((v) => v !== null), low = Math.min(...known), high = Math.max(...known), span = high - low || 1;
  let path = "", pen = false;
  values.forEach((v, second) => {
    if (v === null) { pen = false; return; }
    path += `${pen ? "L" : "M"}${((second + 0.5) / values.length) * 100} ${(1 - (v - low) / span) * 26 + 2}`;
    pen = true;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return [svg, `${shown(low)} – ${shown(high)}`];
}

function lane(label, content, tail = "") {
  const line = make("div", { class: "line" });
  line.append(...content);
  return make("div", { class: "lane" }, make("span", {}, label), line, make("span", {}, tail));
}

function segment(from, to, whole, label, attributes) {
  const button = make("button", { type: "button", title: label, ...attributes }, label);
  button.style.left = `${(100 * from) / whole}%`;
  button.style.width = `max(3px, ${(100 * (to - from)) / whole}%)`;
  return button;
}

function captionLane(captions, seconds, seek) {
  return captions.map((c) => segment(c.start, c.end, seconds, c.text || "no caption", { class: c.wrong ? "wrong" : "", onclick: () => seek(c.start) }));
}

// A caption in words: its text, why it may not be used, and the rest that was written of the span.
function captionText(c) {
  const layers = Object.entries(c.layers), list = make("dl", { class: "layers" });
  for (const [name, text] of layers) list.append(make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, text));
  const flags = c.wrong || c.noted || [];
  return make("div", {},
    make("span", { class: c.wrong ? "wrong" : "" }, c.text || "No caption."),
    c.wrong ? make("p", { class: "flag" }, `Not used: ${flags.join("; ") || "nothing was written"}`) : flags.length ? make("p", { class: "flag quiet" }, flags.join("; ")) : null,
    layers.length ? make("details", {}, make("summary", {}, `Layers and fields (${c.model})`), list) : null);
}

function sourceLane(n) {
  const mine = [...CLIPS.id.keys()].filter((m) => CLIPS.source[m] === CLIPS.source[n]);
  const whole = Math.max(...mine.map((m) => CLIPS.end[m]));
  return mine.map((m) => segment(CLIPS.start[m], CLIPS.end[m], whole, `${clock(CLIPS.start[m])} ${CLIPS.state[m]}`, {
    class: `${CLIPS.state[m] === "kept" ? "kept" : ""} ${m === n ? "here" : ""}`, "aria-label": `Clip at ${clock(CLIPS.start[m])}, ${CLIPS.state[m]}`, onclick: () => openClip(m),
  }));
}

function allScores(n) {
  const list = make("dl", { class: "all" });
  for (const [column, info] of Object.entries(COLUMNS)) {
    if (info.values[n] === null) continue;
    list.append(make("div", { title: info.doc }, make("dt", {}, column), make("dd", {}, shown(info.values[n]))));
  }
  return list;
}

function copyOf(n) {
  for (const [column, info] of Object.entries(COLUMNS)) {
    if (column.endsWith(".copy_of") && info.values[n]) return info.values[n];
  }
  return null;
}

let opened = -1, back = null;

async function openClip(n) {
  const dialog = byId("clip");
  if (!dialog.open) back = document.activeElement;
  opened = n;
  const source = REPORT.sources[CLIPS.source[n]], video = player(n, true), near = (step) => neighbour(n, step);
  const seek = (s) => { if (video.tagName === "VIDEO") video.currentTime = CLIPS.file[n] ? s : CLIPS.start[n] + s; };
  const track = make("div", { class: "track" }), said = make("ol", { class: "said" }), series = make("div", { class: "track" }), copy = copyOf(n);
  dialog.replaceChildren(...[
    make("header", {},
      make("div", {}, make("h2", { id: "clip-title", tabindex: "-1", autofocus: "" }, `${base(source.path)}, ${clock(CLIPS.start[n])} to ${clock(CLIPS.end[n])}`),
        make("p", { class: "quiet" }, make("span", { class: `tag ${CLIPS.state[n]}` }, CLIPS.state[n]), " ", make("span", { class: "id" }, CLIPS.id[n]))),
      make("div", {}, make("button", { type: "button", "aria-label": "Previous clip", onclick: () => near(-1) }, "‹"),
        make("button", { type: "button", "aria-label": "Next clip", onclick: () => near(1) }, "›"), make("button", { type: "button", onclick: () => dialog.close() }, "Close"))),
    video, CLIPS.reason[n] ? make("p", { class: "why" }, CLIPS.reason[n]) : null, copy ? make("p", {}, `A copy of ${copy}`) : null,
    track, said, series, make("h3", {}, "Scores"), allScores(n)].filter((element) => element !== null));
  if (!dialog.open) dialog.showModal();
  track.append(lane("in its source", sourceLane(n), `${shown(CLIPS.seconds[n])} s`));
  let found;
  try { found = await details(n); } catch { said.append(make("li", { class: "quiet" }, "Its details are missing: make the report again.")); return; }
  if (opened !== n) return;
  const seconds = CLIPS.end[n] - CLIPS.start[n];
  for (const level of new Set(found.captions.map((c) => c.level))) {
    const mine = found.captions.filter((c) => c.level === level);
    track.append(lane(`captions: ${level}`, captionLane(mine, seconds, seek)));
    said.append(make("li", { class: "level" }, level));
    for (const c of mine) said.append(make("li", {}, make("button", { type: "button", class: "plain", onclick: () => seek(c.start) }, `${clock(c.start)} – ${clock(c.end)}`), captionText(c)));
  }
  for (const who of ["seen", "speaks"]) {
    for (const label of new Set(found.people.filter((p) => p.lane === who).map((p) => p.label))) {
      const mine = found.people.filter((p) => p.lane === who && p.label === label);
      track.append(lane(`${label} ${who === "seen" ? "is seen" : "speaks"}`, mine.map((p) => segment(p.start, p.end, seconds, label, { onclick: () => seek(p.start) }))));
    }
  }
  for (const [name, values] of Object.entries(found.series)) {
    if (!values.some((v) => v !== null)) continue;
    const [svg, tail] = sparkline(values), head = make("i", { class: "head", hidden: "" }), drawn = lane(name, [svg, head], tail);
    drawn.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      if (box.width && event.clientX >= box.left && event.clientX <= box.right) seek(((event.clientX - box.left) / box.width) * seconds);
    });
    series.append(drawn);
  }
  video.addEventListener("timeupdate", () => {
    const at = CLIPS.file[n] ? video.currentTime : video.currentTime - CLIPS.start[n];
    for (const head of series.querySelectorAll(".head")) { head.hidden = false; head.style.left = `${Math.min(100, (100 * at) / seconds)}%`; }
  });
}
