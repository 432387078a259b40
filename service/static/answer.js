// One ranking as people read it: both modes' time, their difference, and every candidate with its reasons.

import { byId, el, name } from "./dom.js";
import { count, percent, score, times, tiny } from "./format.js";
import { MODES, stageBars } from "./stages.js";

const FIRST = 12;
const LABELS = Object.fromEntries(MODES);

const inference = ({ timing }) => (timing.encode ?? 0) + (timing.score ?? 0);

/** answers: of the same request, one a mode · before: the answers before an action was added · add(id): act on an item. */
export function showAnswer(answers, { before, action, add }) {
  byId("answer-title").hidden = false;
  const timing = stageBars(answers.map((answer) => ({ name: LABELS[answer.body.mode], stages: answer.timing })), { toScale: true });
  byId("timing").replaceChildren(
    el("p", { class: "note" }, answers[0].rounds > 1 ? `Median of ${answers[0].rounds} requests each, one after the other.` : "Of one request."),
    ...timing, ...(answers.length > 1 ? [verdict(answers)] : []));
  byId("ranked").replaceChildren(...table(answers, before, action, add));
}

/** How much faster, how much different. */
function verdict([fast, slow]) {
  const twins = new Map(slow.body.ranked.map((one) => [one.id, one]));
  const largest = Math.max(...fast.body.ranked.map((one) => difference(one, twins.get(one.id))));
  const same = fast.body.ranked.every((one, i) => one.id === slow.body.ranked[i]?.id);
  return el("p", { class: "verdict" },
    el("b", {}, times(inference(slow) / inference(fast))), " as fast in encode + score; largest difference of logits ",
    el("b", {}, tiny(largest)), "; ", same ? "same order." : el("b", { class: "bad" }, "THE ORDERS DIFFER."));
}

function difference(one, twin) {
  return Math.max(...Object.keys(one.logits).map((task) => Math.abs(one.logits[task] - (twin?.logits[task] ?? NaN))));
}

function table(answers, before, action, add) {
  const [first, second] = answers.map(({ body }) => body);
  const twins = new Map(second?.ranked.map((one) => [one.id, one]));
  const former = new Map(before?.[0].body.ranked.map((one) => [one.id, one.rank]));
  const tasks = Object.keys(first.ranked[0].predictions);
  const titles = ["#", "item", LABELS[first.mode], ...(second ? [LABELS[second.mode], "Δ logit"] : []),
    ...tasks.map((task) => `P(${task})`), ...(first.ranked[0].explanation ? ["drawn by"] : []), ""];
  const most = Math.max(...first.ranked.flatMap(({ explanation }) => (explanation ?? []).map(({ attention }) => attention)));
  const row = (one) => {
    const cells = [
      [moved(one.rank, former.get(one.id))],
      [name(one.id), one.unknown_item ? el("span", { class: "tag" }, "unknown") : null],
      [score(one.score)],
    ];
    if (second) cells.push([score(twins.get(one.id)?.score)], [tiny(difference(one, twins.get(one.id)))]);
    cells.push(...tasks.map((task) => [percent(one.predictions[task])]));
    if (one.explanation) cells.push([reasons(one.explanation, most)]);
    cells.push([el("button", {
      type: "button", class: "add", "aria-label": `Add ${action} on ${one.id}, and rank again`, title: `add ${action}, rank again`,
      onclick: () => add(one.id),
    }, "+")]);
    // The roles are said because narrow screens show rows as cards, and a table that is displayed as none is read as none.
    const kinds = ["rank", "item"];
    return el("tr", { role: "row" }, cells.map((content, i) => el(i === 1 ? "th" : "td",
      { role: i === 1 ? "rowheader" : "cell", class: kinds[i] ?? (titles[i] ? null : "act"), "data-label": titles[i] }, el("div", {}, content))));
  };
  const body = el("tbody", { role: "rowgroup" }, first.ranked.slice(0, FIRST).map(row));
  const shown = el("table", { class: "ranked", role: "table", "aria-label": "Candidates, best first" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, titles.map((title) => el("th", { role: "columnheader" }, title || el("span", { class: "unseen" }, "act"))))), body);
  const rest = first.ranked.slice(FIRST);
  if (rest.length === 0) return [shown];
  const more = el("button", { type: "button", onclick: () => { body.append(...rest.map(row)); more.remove(); } },
    `Show the other ${count(rest.length)}`);
  return [shown, more];
}

function moved(rank, was) {
  if (was === undefined || was === rank) return String(rank);
  const up = was > rank;
  return el("span", {}, `${rank} `, el("span", { class: up ? "up" : "down" }, `${up ? "▲" : "▼"}${Math.abs(was - rank)}`,
    el("span", { class: "unseen" }, up ? " up" : " down")));
}

/** The actions that drew the candidate, with their share of its attention; bars are relative to the largest of all. */
function reasons(actions, most) {
  if (actions.length === 0) return el("span", { class: "note" }, "no history");
  return el("ul", { class: "reasons" }, actions.map(({ item_id: id, action, attention }) =>
    el("li", {}, share(attention / most), el("b", {}, percent(attention)), " ",
      action, " ", id ? name(id) : el("i", {}, "unknown item"))));
}

function share(part) {
  const bar = el("span", { class: "fill" });
  bar.style.width = `${100 * part}%`;
  return el("span", { class: "track", "aria-hidden": "true" }, bar);
}
