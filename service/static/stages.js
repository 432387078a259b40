// A request's stages as one bar a mode, each as long as its share of that mode's time, with the milliseconds beside it.

import { el } from "./dom.js";
import { duration, NONE } from "./format.js";

export const STAGES = ["history", "assemble", "encode", "score", "order"];
export const MODES = [["amortized", "amortized"], ["non_amortized", "non-amortized"]];

/** rows: [{name, stages: {stage: ms}}] → bars and the table that says the same in figures.

    toScale: a bar's length is its mode's time; otherwise each fills the width and shows shares. */
export function stageBars(rows, { toScale = false } = {}) {
  const totals = rows.map(({ stages }) => STAGES.reduce((sum, stage) => sum + (stages[stage] ?? 0), 0));
  const bars = rows.map(({ name, stages }, i) => {
    const bar = el("div", { class: "bar-track", "aria-hidden": "true" });
    if (toScale) bar.style.width = `${(100 * totals[i]) / Math.max(...totals)}%`;
    for (const stage of STAGES) {
      if (!stages[stage] || !totals[i]) continue;
      const part = el("span", { class: `part stage-${stage}`, title: `${stage} ${duration(stages[stage])}` });
      part.style.flexGrow = String(stages[stage] / totals[i]);
      bar.append(part);
    }
    const head = el("p", { class: "bar-head" }, el("span", {}, name), el("b", {}, totals[i] ? duration(totals[i]) : NONE));
    return el("div", { class: "bar-row" }, head, bar);
  });
  const head = el("tr", {}, el("th", { scope: "col" }, "stage"), rows.map(({ name }) => el("th", { scope: "col" }, name)));
  const body = STAGES.map((stage) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: `key stage-${stage}`, "aria-hidden": "true" }), stage),
    rows.map(({ stages }) => el("td", {}, duration(stages[stage])))));
  return [...bars, el("table", { class: "figures" }, el("thead", {}, head), el("tbody", {}, body))];
}
