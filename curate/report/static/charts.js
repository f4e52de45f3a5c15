"use strict";
// Histograms by Vega-Lite: one for each numeric score, drawn when it comes into view.

const BINS = 32;
const charts = new Map();

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function shown(value) {
  if (value === null || value === undefined) return "not measured";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 1e-3 || size === 0 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

// Where the bars stand: up to the 99.5th percentile where a few values lie far beyond, which the last bar then holds.
function range(column) {
  const values = sortedValues(column), low = values[0], top = values[values.length - 1], near = percentile(column, 99.5);
  const high = values.length > 50 && top - low > 3 * (near - low) && near > low ? near : top;
  if (high > low) return [low, high];
  const around = [low, ...thresholds(column).map((l) => l.value)], least = Math.min(...around), most = Math.max(...around);
  return most > least ? [least, most + (most - least) / 20] : low === 0 ? [0, 1] : [low - Math.abs(low) / 2, low + Math.abs(low) / 2];
}

function counted(column, [low, high], first, lost) {
  const values = COLUMNS[column].values, step = (high - low) / BINS;
  const rows = [];
  for (let bin = 0; bin < BINS; bin++) {
    for (const state of ["kept", "not kept"]) rows.push({ low: low + bin * step, high: low + (bin + 1) * step, state, clips: 0 });
  }
  for (let n = 0; n < N; n++) {
    if (values[n] === null) continue;
    const bin = Math.max(0, Math.min(BINS - 1, Math.floor((values[n] - low) / step)));
    rows[2 * bin + (first[n] === -1 && !lost[n] ? 0 : 1)].clips++;
  }
  return rows;
}

function thresholds(column) {
  return state.rules.flatMap((entry) => leavesOf(entry.rule, []).map((l) => l[1])).filter((leaf) => leaf.column === column)
    .flatMap(bounds).map(([sign, value]) => ({ sign, value })).filter((l) => l.value !== null);
}

function limitsOf(column, [low, high]) {
  return thresholds(column).map((l) => ({ ...l, at: Math.max(low, Math.min(high, l.value)) }));
}

function specification(column, [low, high], width) {
  const ink = colour("--quiet"), line = colour("--line");
  const x = { type: "quantitative", scale: { domain: [low, high], nice: false } };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    width, height: 118, background: "transparent", autosize: { type: "fit", contains: "padding" }, padding: { left: 0, right: 8, top: 4, bottom: 0 },
    datasets: { bars: counted(column, [low, high], state.first, state.lost), limits: limitsOf(column, [low, high]) },
    layer: [
      {
        data: { name: "bars" }, mark: { type: "bar", binSpacing: 1, tooltip: true },
        encoding: {
          x: { field: "low", bin: { binned: true }, axis: { title: null, grid: false, tickCount: 5, labelOverlap: true, format: high >= 1000 ? "~s" : ".3~g" }, ...x }, x2: { field: "high" },
          y: { field: "clips", type: "quantitative", stack: "zero", axis: { title: null, tickCount: 3, format: "d", domain: false } },
          color: { field: "state", type: "nominal", legend: null, scale: { domain: ["kept", "not kept"], range: [colour("--accent"), colour("--rest")] } },
          order: { field: "state" },
        },
      },
      { data: { name: "limits" }, mark: { type: "rule", strokeWidth: 2, color: colour("--mark") }, encoding: { x: { field: "at", ...x }, tooltip: { field: "value", title: "threshold" } } },
    ],
    config: { view: { stroke: null }, axis: { labelColor: ink, tickColor: line, domainColor: line, gridColor: line, labelFontSize: 11, labelFont: "system-ui", ticks: false, labelPadding: 5 } },
  };
}

class Chart {
  constructor(column, box) {
    this.column = column;
    const info = COLUMNS[column], values = sortedValues(column), missing = N - values.length;
    const title = make("h3", {}, column), note = make("p", { class: "quiet" });
    note.textContent = `${info.doc}${missing ? `${info.doc ? "; " : ""}${missing} not measured` : ""}`;
    this.plot = make("div", { class: "plot", role: "img", "aria-label": `Histogram of ${column}, ${shown(values[0])} to ${shown(values[values.length - 1])}` });
    this.element = make("div", { class: "chart", "data-column": column }, title, note, this.plot);
    box.append(this.element);
    charts.set(this.plot, this);
    seen.observe(this.plot);
  }

  async draw() {
    if (this.drawing) return;
    this.drawing = true;
    if (this.view) this.view.finalize();
    this.range = range(this.column);
    // `ast`: expressions are interpreted, so the page's policy need not allow code made from text.
    const made = await vegaEmbed(this.plot, specification(this.column, this.range, this.plot.clientWidth || 320), { actions: false, ast: true, renderer: "svg", tooltip: true });
    this.view = made.view;
  }

  update() {
    if (!this.view) return;
    this.view.data("bars", counted(this.column, this.range, state.first, state.lost));
    this.view.data("limits", limitsOf(this.column, this.range));
    this.view.run();
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.get(entry.target);
    chart.visible = entry.isIntersecting;
    if (!chart.visible) continue;
    if (chart.view) { if (chart.stale) { chart.stale = false; chart.update(); } } else chart.draw();
  }
}, { rootMargin: "150px" });

function updateCharts() {
  for (const chart of charts.values()) { if (chart.visible) chart.update(); else chart.stale = true; }
}

function drawCharts() {
  const ruled = new Set(state.rules.flatMap((entry) => leavesOf(entry.rule, []).map((l) => l[1].column)));
  const names = Object.keys(COLUMNS).filter((c) => COLUMNS[c].kind === "number" && sortedValues(c).length);
  const inRules = names.filter((c) => ruled.has(c)), others = names.filter((c) => !ruled.has(c));
  for (const column of inRules) new Chart(column, byId("ruled"));
  for (const column of others) new Chart(column, byId("unruled"));
  byId("others").hidden = !others.length;
  if (!inRules.length) byId("others").open = true;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts.values()) { chart.drawing = false; if (chart.view) chart.draw(); }
  });
}
