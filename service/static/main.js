// The live page: asks the service for what is new every two seconds and shows it. It does not know the playground.

import { LineChart } from "./chart.js";
import { byId, el, name } from "./dom.js";
import { ago, bytes, count, duration, NONE, number, percent, things, times } from "./format.js";
import { startPlayground } from "./playground.js";
import { MODES, stageBars } from "./stages.js";

const EVERY_MS = 2000;
const GIVE_UP_MS = 5000;
const KEPT_SECONDS = 600;
const NOTES = {
  inference: "The ranker’s own work on requests whose history was encoded anew, waiting not included. Logarithmic: equal distances are equal ratios.",
  request: "From decoded body to answer: waiting, the history’s look-up and reused encodings included. Logarithmic: equal distances are equal ratios.",
};
const OUTCOMES = {
  ok: "answered",
  degraded: "answered without history",
  invalid: "refused: invalid",
  shed: "shed: no permit",
  deadline: "deadline exceeded",
  unavailable: "unavailable",
  failed: "failed",
  cancelled: "caller went away",
};
const FAULTS = ["shed", "deadline", "unavailable", "failed"];

const lines = MODES.flatMap(([mode, label]) => ["p50", "p99"].map((q) => ({ key: `${mode}.${q}`, name: `${label} ${q}`, style: `${mode} ${q}` })));
const charts = {
  latency: new LineChart(byId("latency"), { label: "Latency", series: lines, scale: "log", format: duration, height: 260 }),
  rate: new LineChart(byId("rate"), { label: "Requests per second", series: MODES.map(([key, label]) => ({ key, name: label, style: key })), format: number, height: 250 }),
  shares: new LineChart(byId("shares"), {
    label: "Shares", most: 1, format: percent,
    series: [{ key: "reused", name: "reused", style: "reused" }, { key: "errors", name: "failed", style: "errors" }],
  }),
};
const state = { started: null, points: [], data: null, paused: false, timer: 0, lostAt: null, playing: null };

function seconds() {
  return Number(byId("window").value);
}

async function poll() {
  clearTimeout(state.timer);
  if (state.paused || document.hidden) return;
  try {
    const after = state.points.at(-1)?.sequence ?? 0;
    const answer = await fetch(`/dashboard/data?after=${after}&window=${seconds()}`, { signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    take(await answer.json());
  } catch {
    state.lostAt ??= Date.now();
    showStatus();
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(poll, EVERY_MS);
}

function take(data) {
  const reborn = state.started !== null && data.started !== state.started;
  if (reborn) state.points = []; // the service began anew, and with it the numbering: ask for all it has
  else state.points.push(...data.points.filter(({ sequence }) => sequence > (state.points.at(-1)?.sequence ?? 0)));
  Object.assign(state, { started: data.started, data, lostAt: null });
  state.points = state.points.filter((point) => data.now - point.at <= KEPT_SECONDS);
  state.playing ??= startPlayground(data.playground, poll);
  show();
}

function show() {
  showStatus();
  if (!state.data) return;
  const { data } = state;
  byId("empty").hidden = data.requests_ever > 0;
  showTiles(data.summary);
  showCharts();
  const modes = data.summary?.modes;
  byId("stages").replaceChildren(...stageBars(MODES.map(([mode, label]) => ({ name: label, stages: modes?.[mode].stages ?? {} }))));
  const reads = data.summary?.lookups ?? {};
  const lost = (reads.unavailable ?? 0) + (reads.damaged ?? 0);
  byId("cache").textContent = `${things(data.cache_entries, "encoding")} kept, ${bytes(data.cache_bytes)}`
    + (lost ? ` · ${count(lost)} history reads failed` : "");
  byId("outcomes").replaceChildren(outcomes(modes));
  byId("rankers").replaceChildren(rankers(data.bundles));
}

function showStatus() {
  const pill = byId("status");
  const { data, lostAt, paused } = state;
  const [text, style] = lostAt ? [`no answer since ${ago(lostAt).replace(" ago", "")}`, "bad"]
    : paused ? ["paused", "idle"]
    : !data ? ["connecting…", "idle"]
    : data.ready ? ["live", "good"] : ["not ready", "bad"];
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${style}`;
  document.body.classList.toggle("stale", Boolean(lostAt));
}

function tile(title, value, detail, style = "") {
  return el("div", { class: `tile ${style}` }, el("dt", {}, title), el("dd", {}, el("b", {}, value), el("span", {}, detail)));
}

function showTiles(summary) {
  const modes = summary?.modes;
  const span = `in the ${byId("window").selectedOptions[0].textContent}`;
  const latency = (mode) => {
    const found = modes?.[mode].inference;
    return [duration(found?.p50), found?.p99 ? `p99 ${duration(found.p99)}` : `no fresh encoding ${span}`];
  };
  const all = modes ? Object.values(modes) : [];
  const total = all.reduce((sum, mode) => sum + mode.requests, 0);
  const flying = all.reduce((sum, mode) => sum + mode.in_flight, 0);
  const failed = all.reduce((sum, mode) => sum + FAULTS.reduce((n, fault) => n + (mode.outcomes[fault] ?? 0), 0), 0);
  const { hit = 0, shared = 0, miss = 0 } = summary?.cache ?? {};
  const [reused, wanted] = [hit + shared, hit + shared + miss];
  byId("tiles").replaceChildren(
    tile("Amortized p50", ...latency("amortized"), "amortized"),
    tile("Non-amortized p50", ...latency("non_amortized"), "non_amortized"),
    tile("Amortization saves", times(summary?.inference_ratio), summary?.inference_ratio ? "ratio of the medians" : "needs both modes", "saves"),
    tile("Requests per second", number(all.reduce((sum, mode) => sum + mode.rate, 0)), `${count(total)} ${span}, ${flying} in flight`),
    tile("Encodings reused", percent(summary?.reused), wanted ? `${count(reused)} of ${count(wanted)} asked for` : "none asked for"),
    tile("Failed", percent(summary?.errors), failed ? `${count(failed)} of ${count(total)}` : total ? `none of ${count(total)}` : "no requests", failed ? "alarm" : ""),
  );
}

function showCharts() {
  const { data, points } = state;
  const span = seconds();
  const timed = document.querySelector("input[name=timed]:checked").value;
  byId("latency-note").textContent = NOTES[timed];
  const recent = points.filter((point) => data.now - point.at <= span);
  const chart = (which, values) => charts[which].update(
    recent.map((point) => ({ id: point.sequence, age: data.now - point.at, values: values(point) })), span);
  chart("latency", ({ modes }) => Object.fromEntries(MODES.flatMap(([mode]) => ["p50", "p99"].map((q) => [`${mode}.${q}`, modes[mode][timed][q]]))));
  chart("rate", ({ modes }) => Object.fromEntries(MODES.map(([mode]) => [mode, modes[mode].rate])));
  chart("shares", ({ reused, errors }) => ({ reused, errors }));
}

function outcomes(modes) {
  const seen = Object.keys(OUTCOMES).filter((outcome) => MODES.some(([mode]) => modes?.[mode].outcomes[outcome]));
  if (seen.length === 0) return el("p", { class: "note" }, "No request ended in this time.");
  const head = el("tr", {}, el("th", { scope: "col" }, "outcome"), MODES.map(([, label]) => el("th", { scope: "col" }, label)));
  return el("table", { class: "figures" }, el("thead", {}, head), el("tbody", {}, seen.map((outcome) =>
    el("tr", { class: FAULTS.includes(outcome) ? "alarm" : "" }, el("th", { scope: "row" }, OUTCOMES[outcome]),
      MODES.map(([mode]) => el("td", {}, modes[mode].outcomes[outcome] ? count(modes[mode].outcomes[outcome]) : NONE))))));
}

function rankers(bundles) {
  return el("ul", { class: "rankers" }, bundles.map(({ surface, version, encoder, precision, embedding_version: items }) =>
    el("li", {}, el("b", {}, name(surface)), " version ", name(version), " · ", name(encoder), " · ", name(precision), " · items ", name(items))));
}

byId("pause").addEventListener("click", (event) => {
  state.paused = !state.paused;
  event.target.textContent = state.paused ? "Go on" : "Pause";
  show();
  poll();
});
byId("window").addEventListener("change", () => { show(); poll(); });
for (const radio of document.querySelectorAll("input[name=timed]")) radio.addEventListener("change", show);
document.addEventListener("visibilitychange", poll);
poll();
