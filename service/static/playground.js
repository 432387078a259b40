// The playground: rank for a member in either mode, see scores, time and reasons; add an action and see what it changes.

import { ask, describe, useKey } from "./api.js";
import { showAnswer } from "./answer.js";
import { byId, el, name } from "./dom.js";
import { ago, count, things } from "./format.js";

const NEWEST = 30;
const NOBODY = "somebody-new";
const ROUNDS = 5;
const ENOUGH_MS = 1500;
const RETRY_MS = 2000;
const TYPICAL_ACTIONS = ["click", "like"];
const state = { offer: null, actions: [], before: null, answers: null, busy: false, asked: 0, rankedWith: null };

/** Called once, with whether the service offers it; `changed` is told when there is something new to see. */
export async function startPlayground(offered, changed) {
  byId("playground-off").hidden = offered;
  if (!offered) return;
  state.changed = changed;
  try {
    state.offer = await ask("GET", "/dashboard/playground");
  } catch (problem) {
    byId("playground-on").hidden = false;
    byId("ask").hidden = true;
    const refused = [401, 403].includes(problem.status);
    byId("key-form").hidden = !refused;
    say(`The playground could not be filled: ${describe(problem)}`, true);
    if (!refused) setTimeout(startPlayground, RETRY_MS, offered, changed);
    return;
  }
  byId("key-form").hidden = true;
  byId("ask").hidden = false;
  say("");
  const { members, surfaces } = state.offer;
  byId("members").replaceChildren(...members.map((id) => el("option", { value: id })));
  byId("surface").replaceChildren(...Object.keys(surfaces).map((id) => el("option", { value: id }, id)));
  byId("playground-on").hidden = false;
  chooseSurface();
  if (members.length) await chooseMember(members[0]);
  else {
    byId("member").value = NOBODY;
    byId("history-note").textContent = "No member has a history yet: any id ranks as a cold start.";
  }
}

const surface = () => state.offer.surfaces[byId("surface").value];

function say(text, bad = false) {
  const said = byId("said");
  said.textContent = text;
  said.classList.toggle("bad", bad);
}

// --- what is asked

function chooseSurface() {
  const { actions, max_candidates: most, items } = surface();
  const action = byId("action");
  const kept = actions.includes(action.value) ? action.value : (TYPICAL_ACTIONS.find((one) => actions.includes(one)) ?? actions[0]);
  action.replaceChildren(...actions.map((one) => el("option", { value: one }, one)));
  action.value = kept;
  byId("count").max = Math.min(most, items.length);
  draw();
}

const isAds = () => byId("surface").value === "ads";

/** Ids that a line of the text area can hold; of others there is no telling where they end. */
const fitsALine = (id) => id === id.trim() && !/[\n\r]/.test(id) && !(isAds() && id.includes("="));

function draw() {
  const left = surface().items.filter(fitsALine);
  const wanted = Math.max(1, Math.min(Number(byId("count").value) || 1, left.length));
  byId("count").value = wanted;
  const chosen = [];
  while (chosen.length < wanted) chosen.push(...left.splice(Math.floor(Math.random() * left.length), 1));
  byId("candidates").value = chosen.map((id) => (isAds() ? `${id}=${(0.1 + Math.random() * 1.9).toFixed(2)}` : id)).join("\n");
  hint();
}

function candidates() {
  const found = new Map();
  for (const line of byId("candidates").value.split(/\r?\n/)) {
    const text = line.trim();
    if (!text) continue;
    const at = isAds() ? text.lastIndexOf("=") : -1;
    const bid = at > 0 ? Number(text.slice(at + 1)) : NaN;
    const one = Number.isFinite(bid) ? { id: text.slice(0, at), bid } : { id: text };
    if (!found.has(one.id)) found.set(one.id, one);
  }
  return [...found.values()];
}

function hint() {
  byId("candidates-hint").textContent = `${isAds() ? ", =bid" : ""} (${count(candidates().length)} of ${count(surface().item_count)} items)`;
}

// --- the member's history

async function chooseMember(id) {
  byId("member").value = id;
  await showHistory();
}

async function showHistory() {
  const id = byId("member").value;
  const asked = (state.asked += 1);
  if (!id) return;
  if (id === "." || id === "..") { // a browser takes these out of any path
    return fillHistory([], "A browser cannot ask for the history of this id.");
  }
  try {
    const found = await ask("GET", `/v1/members/${encodeURIComponent(id)}/history`);
    if (asked !== state.asked) return;
    const newest = found.actions.slice(-NEWEST).reverse();
    const shown = newest.length < found.total ? `; the newest ${newest.length} are shown` : "";
    fillHistory(newest, `${things(found.total, "action")}${shown}. The ranker reads at most ${surface().max_history}.`);
  } catch (problem) {
    if (asked !== state.asked) return;
    const cold = problem.code === "not_found";
    fillHistory([], cold ? "No history is stored for this member: a cold start." : describe(problem));
  }
}

function fillHistory(actions, note) {
  byId("history-note").textContent = note;
  byId("history").replaceChildren(...actions.map(({ item_id: id, action, timestamp }) =>
    el("li", {}, id ? name(id) : el("i", {}, "unknown item"), el("span", { class: "verb" }, action),
      el("time", { datetime: new Date(timestamp).toISOString() }, ago(timestamp)))));
}

// --- ranking

function question(mode) {
  const explain = Number(byId("explain").value);
  return {
    member_id: byId("member").value,
    surface: byId("surface").value,
    mode,
    candidates: candidates(),
    logits: true,
    ...(explain ? { explain } : {}),
    ...(mode === "amortized" ? { reuse_encoding: byId("reuse").checked } : {}),
  };
}

async function rank(introduction = "") {
  if (state.busy) return;
  const modes = byId("mode").value === "both" ? ["amortized", "non_amortized"] : [byId("mode").value];
  busy(true);
  say(`Ranking ${things(candidates().length, "candidate")}…`);
  try {
    const answers = await measure(modes.map(question));
    const subject = JSON.stringify([byId("member").value, byId("surface").value, candidates().map(({ id }) => id).sort()]);
    const before = state.rankedWith === subject ? state.answers : null;
    Object.assign(state, { answers, rankedWith: subject });
    showAnswer(answers, { before, action: byId("action").value, add });
    const { length, source } = answers[0].body.history;
    const from = { store: "read from the store", cache: "taken from the cache", cold_start: "cold start", degraded: "the store failed" };
    say(`${introduction}Ranked ${things(answers[0].body.ranked.length, "candidate")} against ${things(length, "action")} (${from[source] ?? source}).`);
    state.changed();
  } catch (problem) {
    say(`Not ranked: ${describe(problem)}`, true);
  } finally {
    busy(false);
  }
}

/** Answers to the questions, asked by turns; each with the median of its stages, where there was time for several rounds. */
async function measure(questions) {
  const request_time = Date.now(); // one moment for both modes: their scores are to be the same
  const rounds = [];
  while (rounds.length < ROUNDS && performance.now() - (rounds[0]?.began ?? Infinity) < ENOUGH_MS || rounds.length === 0) {
    const round = { began: performance.now(), answers: [] };
    for (const question of questions) {
      const { explain, ...plain } = question;
      round.answers.push(await ask("POST", "/v1/rank", { ...(rounds.length ? plain : question), request_time }));
    }
    rounds.push(round);
  }
  return questions.map((_, i) => ({
    body: rounds[0].answers[i].body,
    rounds: rounds.length,
    timing: medians(rounds.map(({ answers }) => answers[i].timing)),
  }));
}

function medians(timings) {
  const middle = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  return Object.fromEntries(Object.keys(timings[0]).map((stage) => [stage, middle(timings.map((timing) => timing[stage]))]));
}

/** The member does something to an item; then the same candidates are ranked again. */
async function add(id) {
  if (state.busy) return;
  const action = byId("action").value;
  const rankOf = (answers) => answers?.[0].body.ranked.find((one) => one.id === id)?.rank;
  const was = rankOf(state.answers);
  busy(true);
  try {
    const body = { member_id: byId("member").value, events: [{ item_id: id, action, timestamp: Date.now() }] };
    await ask("POST", "/v1/events", body);
  } catch (problem) {
    say(`Not added: ${describe(problem)}`, true);
    return;
  } finally {
    busy(false);
  }
  const scored = state.answers;
  await Promise.all([showHistory(), rank(`Added ${action} on ${JSON.stringify(id)}. `)]);
  const is = rankOf(state.answers);
  if (state.answers !== scored && was && is) byId("said").append(was === is ? ` It stays at rank ${is}.` : ` It moved from rank ${was} to ${is}.`);
  byId("answer-title").focus({ preventScroll: true });
}

function busy(is) {
  state.busy = is;
  byId("ask").setAttribute("aria-busy", String(is));
  for (const button of document.querySelectorAll("#rank, #ranked button")) button.disabled = is;
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  startPlayground(true, state.changed);
});
byId("ask").addEventListener("submit", (event) => { event.preventDefault(); rank(); });
byId("surface").addEventListener("change", chooseSurface);
byId("draw").addEventListener("click", draw);
byId("candidates").addEventListener("input", hint);
byId("member").addEventListener("change", showHistory);
byId("another-member").addEventListener("click", () => {
  const others = state.offer.members.filter((id) => id !== byId("member").value);
  if (others.length) chooseMember(others[Math.floor(Math.random() * others.length)]);
});
