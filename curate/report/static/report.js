"use strict";
// The page: funnel and sliders, the list of clips, tables. What is loaded once is `state`; `refresh` shows it.

const PAGE_SIZE = 24;
const scale = REPORT.clipsInAll / Math.max(1, N);
const state = {
  rules: structuredClone(REPORT.rules), first: null, was: null, lost: null, handles: [], page: 0, found: [],
};
const hours = (clips) => clips.reduce((sum, n) => sum + CLIPS.seconds[n], 0) / 3600;
const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });
const ruleName = (entry) => (state.rules.some((r) => r.screen) ? `${entry.stage}.${entry.name}` : entry.name);

// -- funnel -------------------------------------------------------------------------------------------------------

function steps(first) {
  const lost = state.rules.map(() => [0, 0]);
  const untold = [0, 0];
  let kept = 0, keptHours = 0;
  for (let n = 0; n < N; n++) {
    if (first[n] !== -1) { lost[first[n]][0]++; lost[first[n]][1] += CLIPS.seconds[n] / 3600; }
    else if (!state.lost[n]) { kept++; keptHours += CLIPS.seconds[n] / 3600; }
    else if (CLIPS.state[n] === "rejected") { untold[0]++; untold[1] += CLIPS.seconds[n] / 3600; }
  }
  let count = N, left = hours([...CLIPS.id.keys()]);
  const found = [{ name: "takes", count, hours: left }];
  state.rules.forEach((entry, place) => {
    count -= lost[place][0];
    left -= lost[place][1];
    found.push({ name: `after ${ruleName(entry)}`, count, hours: Math.max(0, left), lost: lost[place][0] });
  });
  found.push({ name: "captions usable", count: count - untold[0], hours: Math.max(0, left - untold[1]), lost: untold[0] });
  found.push({ name: "kept", count: kept, hours: keptHours });
  return found;
}

function showFunnel() {
  const body = byId("funnel").tBodies[0], stored = REPORT.funnel.filter((s) => s.name === "sources" || s.name === "readable");
  const before = steps(state.was), after = steps(state.first);
  const rows = [...stored.map((s) => [s, s]), ...after.map((s, place) => [before[place], s]).filter(([a, b]) => a.lost !== 0 || b.lost !== 0)];
  const most = Math.max(1e-9, ...rows.map(([, s]) => s.hours), ...rows.map(([s]) => s.hours));
  body.replaceChildren(...rows.map(([old, now], place) => {
    const factor = place < stored.length ? 1 : scale, bar = make("div", { class: "bar" }), fill = make("i"), moved = now.count !== old.count;
    fill.style.width = `${(100 * now.hours) / most}%`;
    bar.append(fill);
    if (moved) { const mark = make("b"); mark.style.left = `${(100 * old.hours) / most}%`; bar.append(mark); }
    const difference = Math.round((now.count - old.count) * factor);
    return make("tr", { "data-step": now.name }, make("th", { scope: "row" }, now.name), make("td", { class: "wide" }, bar),
      make("td", { class: "num clips" }, number(now.count * factor)), make("td", { class: "num" }, (now.hours * factor).toFixed(now.hours * factor < 10 ? 3 : 1)),
      make("td", { class: "num change" }, moved ? `${difference > 0 ? "+" : "−"}${number(Math.abs(difference))}` : ""));
  }));
}

// -- sliders --------------------------------------------------------------------------------------------------------

const FIELD = { min: "at least", max: "at most", min_percentile: "from percentile", max_percentile: "to percentile", at_most: "at most, clips", at_most_hours: "at most, hours" };

// A slider over a score moves by share of clips, so that it is as fine where clips lie close as where they do not.
function positions(handle) {
  if (handle.field.endsWith("percentile")) return { max: 100, read: (p) => p, place: (v) => v };
  if (handle.field === "at_most") { const most = Math.max(20, 2 * handle.owner.at_most); return { max: most, read: (p) => Math.max(1, p), place: (v) => v }; }
  if (handle.field === "at_most_hours") { const most = 2 * handle.owner.at_most_hours; return { max: 1000, read: (p) => round(Math.max(most / 1000, (most * p) / 1000)), place: (v) => (1000 * v) / most }; }
  const values = sortedValues(handle.column);
  const place = (v) => { let low = 0, high = values.length; while (low < high) { const mid = (low + high) >> 1; if (values[mid] < v) low = mid + 1; else high = mid; } return (1000 * low) / Math.max(1, values.length - 1); };
  return { max: 1000, read: (p) => { const v = percentile(handle.column, p / 10); return v === null ? handle.owner[handle.field] : round(v); }, place };
}

function round(value) { return Number(value.toPrecision(3)); }

function showRules() {
  state.handles = handles(state.rules);
  const box = byId("rules");
  if (!state.rules.length) { box.append(make("p", { class: "quiet" }, "The recipe has no rules: every clip is in.")); return; }
  state.rules.forEach((entry, place) => {
    const out = make("span", { class: "quiet num" }), point = entry.rule.operating_point;
    const element = make("div", { class: "rule" }, make("header", {}, make("b", {}, ruleName(entry)), out),
      entry.rule.why ? make("p", { class: "quiet why" }, entry.rule.why.trim()) : null,
      point ? make("p", { class: "quiet why" }, `precision ${point.precision}, recall ${point.recall} on ${point.on}`) : null);
    entry.shown = out;
    for (const handle of state.handles.filter((h) => h.place === place)) element.append(side(handle));
    for (const [, leaf] of leavesOf(entry.rule, [])) {
      if (leaf.equals !== undefined) element.append(make("p", { class: "quiet why" }, `${leaf.column} is ${leaf.equals}`));
    }
    box.append(element);
  });
}

function side(handle) {
  const how = positions(handle), label = `${handle.column} ${FIELD[handle.field]}`, start = handle.owner[handle.field];
  const slider = make("input", { type: "range", min: 0, max: how.max, step: 1, "aria-label": label, "data-path": handle.path });
  const box = make("input", { type: "text", inputmode: "decimal", "aria-label": `${label}, value`, "data-path": handle.path });
  const show = () => { slider.value = how.place(handle.owner[handle.field]); box.value = String(handle.owner[handle.field]); slider.setAttribute("aria-valuetext", box.value); };
  const set = (value) => { handle.owner[handle.field] = value; box.value = String(value); slider.setAttribute("aria-valuetext", box.value); later(); };
  slider.addEventListener("input", () => set(how.read(Number(slider.value))));
  box.addEventListener("change", () => {
    const value = Number(box.value);
    if (box.value.trim() === "" || !Number.isFinite(value)) { show(); return; }
    set(value);
    slider.value = how.place(value);
  });
  Object.assign(handle, { start, reset: () => { handle.owner[handle.field] = start; show(); } });
  show();
  return make("div", { class: "side" }, make("span", {}, `${handle.column} ${FIELD[handle.field]}`), slider, box);
}

let asked = 0;
function later() { if (!asked) asked = requestAnimationFrame(() => { asked = 0; redecide(); }); }

function redecide() {
  state.first = decide(state.rules);
  showEffect();
  updateCharts();
  list();
}

// -- the line that makes it so --------------------------------------------------------------------------------------

function quoted(text) { return /^[\w.=:,@%+/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`; }

function showEffect() {
  showFunnel();
  state.rules.forEach((entry, place) => {
    let out = 0;
    for (let n = 0; n < N; n++) if (state.first[n] === place) out++;
    const total = Math.round(out * scale);
    entry.shown.textContent = total ? `${number(total)} out` : "";
  });
  const moved = state.handles.filter((h) => h.owner[h.field] !== h.start);
  let comes = 0, goes = 0;
  for (let n = 0; n < N; n++) { if (comesIn(n)) comes++; if (goesOut(n)) goes++; }
  byId("whatif").hidden = !moved.length;
  byId("effect").textContent = `${number(comes * scale)} in, ${number(goes * scale)} out`;
  byId("line").textContent = [REPORT.select, ...moved.map((h) => `--set ${quoted(`${h.path}=${h.owner[h.field]}`)}`)].join(" ");
}

const comesIn = (n) => !state.lost[n] && state.was[n] !== -1 && state.first[n] === -1;
const goesOut = (n) => !state.lost[n] && state.was[n] === -1 && state.first[n] !== -1;

async function copyLine() {
  const text = byId("line").textContent;
  try { await navigator.clipboard.writeText(text); } catch {
    const area = make("textarea", {}); area.value = text; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  byId("copy").textContent = "Copied";
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
}

// -- clips ----------------------------------------------------------------------------------------------------------

const TEXTS = Object.values(COLUMNS).filter((c) => c.kind === "text");
const haystacks = new Array(N);
function haystack(n) {
  haystacks[n] ??= [CLIPS.id[n], REPORT.sources[CLIPS.source[n]].path, CLIPS.text[n], CLIPS.reason[n], ...TEXTS.map((c) => c.values[n])].filter(Boolean).join("\n").toLowerCase();
  return haystacks[n];
}

function list(page = 0) {
  const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean), wanted = byId("state").value, by = byId("by").value;
  const column = COLUMNS[byId("column").value], [from, to] = ["from", "to"].map((id) => (byId(id).value.trim() === "" ? null : Number(byId(id).value)));
  const sort = byId("sort").value, up = byId("order").value === "up" ? 1 : -1, key = sort === "seconds" ? CLIPS.seconds : COLUMNS[sort].values;
  state.found = [...CLIPS.id.keys()].filter((n) => {
    if (wanted === "in" ? !comesIn(n) : wanted === "gone" ? !goesOut(n) : wanted && CLIPS.state[n] !== wanted) return false;
    if (by !== "" && state.first[n] !== Number(by)) return false;
    if (column && (column.values[n] === null || (from !== null && column.values[n] < from) || (to !== null && column.values[n] > to))) return false;
    return words.every((w) => haystack(n).includes(w));
  });
  state.found.sort((a, b) => (key[a] === null || key[b] === null ? (key[a] === null) - (key[b] === null) : up * (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : 0)) || a - b);
  turn(page);
}

function turn(page) {
  const pages = Math.max(1, Math.ceil(state.found.length / PAGE_SIZE));
  state.page = Math.max(0, Math.min(pages - 1, page));
  byId("cards").replaceChildren(...state.found.slice(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE).map(card));
  byId("count").textContent = `${number(state.found.length)} of ${number(N)} clips, ${hours(state.found).toFixed(2)} h`;
  byId("page").textContent = `${state.page + 1} of ${pages}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page === pages - 1;
}

const RULED = [...new Set(REPORT.rules.flatMap((entry) => leavesOf(entry.rule, []).map((l) => l[1].column)))].filter((c) => COLUMNS[c] && COLUMNS[c].kind === "number");

function card(n) {
  const source = REPORT.sources[CLIPS.source[n]], thumb = make("div", { class: "thumb" }), poster = posterUrl(n), facts = make("dl", { class: "facts" });
  if (poster) thumb.append(make("img", { src: poster, alt: "", loading: "lazy", decoding: "async" }));
  thumb.append(make("button", { type: "button", "aria-label": `Play clip at ${clock(CLIPS.start[n])} of ${base(source.path)}`, onclick: () => { const video = player(n, true); thumb.replaceChildren(video); video.focus(); } }), make("span", { class: "length" }, clock(CLIPS.seconds[n])));
  const broken = state.first[n] === -1 ? [] : leavesOf(state.rules[state.first[n]].rule, []).map((l) => l[1].column);
  const sort = byId("sort").value, columns = [...new Set([...(sort === "seconds" ? [] : [sort]), ...broken.filter((c) => COLUMNS[c]), ...RULED])].slice(0, 6);
  for (const c of columns) facts.append(make("dt", { title: COLUMNS[c].doc }, c), make("dd", { class: broken.includes(c) ? "broken" : null }, shown(COLUMNS[c].values[n])));
  const label = comesIn(n) ? "would come in" : goesOut(n) ? "would go out" : CLIPS.state[n];
  return make("li", { class: "card", "data-clip": CLIPS.id[n] }, thumb,
    make("p", {}, make("span", { class: `tag ${CLIPS.state[n]}` }, label), " ", make("button", { type: "button", class: "plain open", onclick: () => openClip(n) }, `${base(source.path)} at ${clock(CLIPS.start[n])}`)),
    CLIPS.reason[n] ? make("p", { class: "quiet two", title: CLIPS.reason[n] }, CLIPS.reason[n]) : CLIPS.text[n] ? make("p", { class: "two", title: CLIPS.text[n] }, CLIPS.text[n]) : null, facts);
}

function neighbour(n, step) {
  const next = state.found[state.found.indexOf(n) + step];
  if (next !== undefined) openClip(next);
}

function fillFilters() {
  state.rules.forEach((entry, place) => byId("by").append(make("option", { value: place }, ruleName(entry))));
  byId("sort").append(make("option", { value: "seconds" }, "length"));
  byId("column").append(make("option", { value: "" }, "any score"));
  for (const column of Object.keys(COLUMNS).sort()) {
    byId("sort").append(make("option", {}, column));
    if (COLUMNS[column].kind === "number") byId("column").append(make("option", {}, column));
  }
  byId("filters").addEventListener("input", () => list());
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => turn(state.page - 1));
  byId("next").addEventListener("click", () => turn(state.page + 1));
}

// -- tables ---------------------------------------------------------------------------------------------------------

const LISTED = 200;
function table(section, heads, rows, none) {
  const box = document.querySelector(`#${section} .scroll`);
  if (!rows.length) { box.replaceChildren(make("p", { class: "quiet" }, none)); return; }
  const body = make("tbody"), more = make("button", { type: "button" }, `Show all ${number(rows.length)}`);
  const add = (some) => body.append(...some.map((cells) => make("tr", {}, ...cells.map((c) => make("td", {}, c ?? "")))));
  add(rows.slice(0, LISTED));
  more.addEventListener("click", () => { add(rows.slice(LISTED)); more.remove(); });
  box.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, h)))), body));
  if (rows.length > LISTED) box.append(more);
}

function clipButton(id) {
  const n = CLIPS.id.indexOf(id);
  return n === -1 ? make("span", { class: "id" }, id) : make("button", { type: "button", class: "plain", onclick: () => openClip(n) }, `${base(REPORT.sources[CLIPS.source[n]].path)} at ${clock(CLIPS.start[n])}`);
}

function face(person) {
  return person.face ? make("img", { class: "face", src: `people/${encodeURIComponent(person.face)}`, alt: "", loading: "lazy" }) : "";
}

function known(person) {
  const others = person.elsewhere > 1 ? `${person.identity} in ${person.elsewhere} sources` : "";
  return [person.known, others].filter(Boolean).join("; ");
}

function scenes(person) {
  const box = make("div", { class: "scenes" });
  for (const id of person.scenes) box.append(clipButton(id));
  return box;
}

function tables() {
  const seconds = (value) => (value ? `${value.toFixed(1)} s` : ""), sure = (value) => (value === null ? "" : value.toFixed(2));
  if (REPORT.people.length) {
    table("people", ["Face", "Who", "What is known", "Speaks", "Is seen", "Face and voice are one's", "Takes"], REPORT.people.map((p) => [face(p), p.label, known(p), seconds(p.speaks), seconds(p.seen), sure(p.sure), scenes(p)]), "");
  }
  const copies = [];
  for (let n = 0; n < N; n++) { const original = copyOf(n); if (original) copies.push([CLIPS.id[n], original, CLIPS.state[n]]); }
  table("copies", ["Clip", "is a copy of", "State"], copies.map(([a, b, s]) => [clipButton(a), clipButton(b), s]), "No copies were found, or nothing looked for them.");
  table("sources", ["Source", "State", "Why"], REPORT.sources.map((s) => [s.path, s.state, s.reason]), "No sources.");
  table("errors", ["Source", "Clip", "Stage", "What was wrong"], REPORT.errors.map((e) => [e.path, e.clip_id, e.stage, e.message]), "No errors.");
}

// -- keys and start -------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const typing = event.target.closest && event.target.closest("input, select, textarea, video"), open = byId("clip").open;
  if (open && (event.key === "j" || event.key === "k")) neighbour(opened, event.key === "j" ? 1 : -1);
  else if (typing || open) return;
  else if (event.key === "/") { byId("text").focus(); event.preventDefault(); }
  else if (event.key === "ArrowLeft") turn(state.page - 1);
  else if (event.key === "ArrowRight") turn(state.page + 1);
});
byId("clip").addEventListener("close", () => { if (byId("clip").open) return; byId("clip").replaceChildren(); opened = -1; if (back && back.isConnected) back.focus(); });
byId("copy").addEventListener("click", copyLine);
byId("reset").addEventListener("click", () => { state.handles.forEach((h) => h.reset()); redecide(); });

const told = Object.entries(REPORT.states).map(([kind, by]) => `${kind}s: ${Object.entries(by).map(([s, count]) => `${number(count)} ${s}`).join(", ")}`);
byId("states").textContent = told.join(". ");
const notices = [];
if (REPORT.next) notices.push(`The decisions are newer than what was made of them (${REPORT.toDo.join(", ")}). To bring it in line: ${REPORT.next}`);
if (N < REPORT.clipsInAll) notices.push(`The page shows a sample of ${number(N)} of ${number(REPORT.clipsInAll)} clips; counts are scaled up.`);
byId("notice").hidden = !notices.length;
byId("notice").textContent = notices.join(" ");
state.was = state.first = decide(state.rules);
// What no rule turned down and yet is not kept: no threshold brings it in.
state.lost = CLIPS.state.map((s, n) => (s === "failed" || (s === "rejected" && state.was[n] === -1) ? 1 : 0));
showRules();
fillFilters();
showEffect();
list();
tables();
drawCharts();
document.documentElement.dataset.ready = "yes";
