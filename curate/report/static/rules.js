"use strict";
// The rules, decided in the browser as the judge in curate/rules decides them, so that a moved threshold shows at once.
// A condition is 1 (true), 0 (false) or 2 (unknown: a score is null) for each clip.

const N = REPORT.clips.id.length;
const COLUMNS = REPORT.columns;
const sortedCache = new Map();

function sortedValues(column) {
  if (!sortedCache.has(column)) {
    const found = COLUMNS[column] ? COLUMNS[column].values.filter((v) => v !== null) : [];
    sortedCache.set(column, Float64Array.from(found).sort());
  }
  return sortedCache.get(column);
}

function percentile(column, percent) {
  const values = sortedValues(column);
  if (!values.length) return null;
  const at = ((values.length - 1) * percent) / 100, low = Math.floor(at), high = Math.ceil(at);
  return values[low] + (values[high] - values[low]) * (at - low);
}

// What a threshold comes to, in the precision of its column.
function bounds(leaf) {
  const found = [];
  for (const [sign, value, percent] of [[">=", leaf.min, leaf.min_percentile], ["<=", leaf.max, leaf.max_percentile]]) {
    if (value !== undefined) found.push([sign, value]);
    if (percent !== undefined) found.push([sign, percentile(leaf.column, percent)]);
  }
  return found;
}

function truth(condition) {
  const result = new Uint8Array(N);
  if (condition.column !== undefined) {
    const column = COLUMNS[condition.column];
    if (!column) return result.fill(2);
    const same = column.single ? Math.fround : (v) => v;
    const limits = bounds(condition).map(([sign, value]) => [sign === ">=", value === null ? null : same(value)]);
    for (let n = 0; n < N; n++) {
      let value = column.values[n];
      if (value === null) { result[n] = 2; continue; }
      if (condition.equals !== undefined) {
        result[n] = (column.kind === "number" ? same(value) === same(condition.equals) : value === condition.equals) ? 1 : 0;
        continue;
      }
      value = same(value);
      let passes = 1;
      for (const [least, limit] of limits) {
        if (limit === null) passes = passes === 0 ? 0 : 2;
        else if (least ? value < limit : value > limit) passes = 0;
      }
      result[n] = passes;
    }
    return result;
  }
  if (condition.not !== undefined) return truth(condition.not).map((v) => (v === 2 ? 2 : 1 - v));
  const decisive = condition.any !== undefined ? 1 : 0;
  const inner = (condition.any || condition.all).map(truth);
  for (let n = 0; n < N; n++) {
    let found = 1 - decisive;
    for (const child of inner) {
      if (child[n] === decisive) { found = decisive; break; }
      if (child[n] === 2) found = 2;
    }
    result[n] = found;
  }
  return result;
}

function isQuota(rule) { return rule.at_most !== undefined || rule.at_most_hours !== undefined; }

const orderById = Int32Array.from(REPORT.clips.id.keys()).sort((a, b) => (REPORT.clips.id[a] < REPORT.clips.id[b] ? -1 : 1));
const rankById = new Int32Array(N);
orderById.forEach((clip, rank) => { rankById[clip] = rank; });

function groupOf(column) {
  if (column === undefined) return () => "";
  if (column === "clips.source_id") return (n) => REPORT.clips.source[n];
  const values = COLUMNS[column] ? COLUMNS[column].values : null;
  return (n) => (values ? values[n] : null);
}

// 1 where the quota is kept, 0 where it is exceeded, 2 where a clip has no group; only `among` compete.
function quota(rule, among) {
  const result = new Uint8Array(N).fill(1), group = groupOf(rule.per), groups = new Map();
  for (let n = 0; n < N; n++) {
    if (!among[n]) continue;
    const key = group(n);
    if (key === null) { result[n] = 2; continue; }
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(n);
  }
  const best = COLUMNS[rule.best] ? COLUMNS[rule.best].values : new Array(N).fill(null), sign = rule.order === "lowest" ? 1 : -1;
  for (const members of groups.values()) {
    members.sort((a, b) => {
      if ((best[a] === null) !== (best[b] === null)) return best[a] === null ? 1 : -1;
      return (best[a] !== null && best[a] !== best[b]) ? sign * (best[a] - best[b]) : rankById[a] - rankById[b];
    });
    let ms = 0;
    members.forEach((n, place) => {
      ms += Math.round(REPORT.clips.seconds[n] * 1000);
      if (rule.at_most !== undefined && place >= rule.at_most) result[n] = 0;
      if (rule.at_most_hours !== undefined && ms > Math.round(rule.at_most_hours * 3600000)) result[n] = 0;
    });
  }
  return result;
}

// For each clip the place in REPORT.rules of the first rule that turns it down; -1 where none does.
function decide(rules) {
  const first = new Int32Array(N).fill(-1);
  for (const screen of [true, false]) {
    const mine = rules.map((r, place) => [r, place]).filter(([r]) => r.screen === screen);
    const passing = first.map((f) => (f === -1 ? 1 : 0)), found = new Map();
    for (const quotas of [false, true]) {
      for (const [{ rule }, place] of mine) {
        if (isQuota(rule) !== quotas) continue;
        const state = quotas ? quota(rule, passing) : truth(rule), out = new Uint8Array(N);
        for (let n = 0; n < N; n++) {
          out[n] = state[n] === 0 || (state[n] === 2 && rule.unmeasured !== "accept") ? 1 : 0;
          if (out[n]) passing[n] = 0;
        }
        found.set(place, out);
      }
    }
    for (const [, place] of mine) {
      const out = found.get(place);
      for (let n = 0; n < N; n++) if (out[n] && first[n] === -1) first[n] = place;
    }
  }
  return first;
}

function leavesOf(condition, at) {
  if (condition.column !== undefined) return [[at, condition]];
  if (condition.not !== undefined) return leavesOf(condition.not, [...at, "not"]);
  for (const word of ["any", "all"]) {
    if (condition[word]) return condition[word].flatMap((child, n) => leavesOf(child, [...at, word, String(n)]));
  }
  return [];
}

// Every number of the rules that can be moved: where it is, as `--set` writes it, and what it is about.
function handles(rules) {
  const found = [];
  rules.forEach((entry, place) => {
    const root = [entry.stage, "rules", entry.name];
    for (const [at, leaf] of leavesOf(entry.rule, root)) {
      for (const field of ["min", "max", "min_percentile", "max_percentile"]) {
        if (leaf[field] !== undefined) found.push({ place, owner: leaf, field, column: leaf.column, path: [...at, field].join(".") });
      }
    }
    for (const field of ["at_most", "at_most_hours"]) {
      if (entry.rule[field] !== undefined) found.push({ place, owner: entry.rule, field, column: entry.rule.best, path: [...root, field].join(".") });
    }
  });
  return found;
}
