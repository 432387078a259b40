// Lines over the last minutes, as SVG: a legend with values, a cursor for pointer and arrow keys, gaps where nothing
// was measured. It does not know what the lines mean.

import { el, svg } from "./dom.js";

const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 24;
const LABEL_GAP = 18;

/** 1, 2, 5 · 10ⁿ around [low, high], for a logarithmic axis. */
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades > 2.5 ? [1] : decades > 1.3 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of steps) {
      const tick = Number((step * 10 ** power).toPrecision(2));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

/** Round steps from 0 to at least `high`. */
function linearTicks(high) {
  const rough = high / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let tick = 0; tick < high + step * 0.999; tick += step) ticks.push(Number(tick.toPrecision(6)));
  return ticks;
}

const seconds = (ago) => (ago < 0.5 ? "now" : ago % 60 === 0 ? `−${ago / 60} min` : `−${ago} s`);

export class LineChart {
  /** series: [{key, name, style}], style = a class of style.css · scale: "log" | "linear" · most: top of a linear axis. */
  constructor(host, { label, series, scale = "linear", most = null, format, height = 180 }) {
    Object.assign(this, { label, series, scale, most, format, height });
    this.points = [];
    this.span = 60;
    this.cursor = null;
    this.legend = el("ul", { class: "legend" });
    this.when = el("span", { class: "when" });
    this.svg = svg("svg", { class: "chart", tabindex: 0, role: "img" });
    host.append(el("div", { class: "legend-row" }, this.legend, this.when), this.svg);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerdown", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#moveTo(null));
    this.svg.addEventListener("blur", () => this.#moveTo(null));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  /** points: [{age, values: {key: number | null}}], oldest first · span: seconds that the axis covers. */
  update(points, span) {
    if (this.cursor !== null && this.points[this.cursor]) {
      const moment = this.points[this.cursor].id;
      const found = points.findIndex((point) => point.id === moment);
      this.cursor = found < 0 ? null : found;
    }
    Object.assign(this, { points, span });
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!width) return;
    const { height } = this;
    const inner = { width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
    const x = (age) => LEFT + inner.width * (1 - age / this.span);
    const { y, ticks } = this.#axis(inner.height);
    this.x = x;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren(...this.#grid(width, x, y, ticks), ...this.series.map((one) => this.#line(one, x, y)));
    if (this.points.length === 0) {
      this.svg.append(svg("text", { class: "nothing", x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing measured yet"));
    }
    this.#drawCursor(y);
    this.#drawLegend();
  }

  #axis(height) {
    const values = this.points.flatMap((point) => this.series.map(({ key }) => point.values[key])).filter((v) => v !== null && v !== undefined);
    if (this.scale === "log") {
      const positive = values.filter((value) => value > 0);
      let low = Math.min(...positive, positive.length ? Infinity : 1) / 1.25;
      let high = Math.max(...positive, positive.length ? 0 : 100) * 1.25;
      if (high / low < 4) [low, high] = [low / 1.6, high * 1.6];
      const y = (value) => TOP + height * (1 - Math.log(value / low) / Math.log(high / low));
      return { y, ticks: this.#apart(logTicks(low, high), y) };
    }
    const ticks = linearTicks(this.most ?? Math.max(...values, 1e-3));
    const high = this.most ?? ticks.at(-1);
    return { y: (value) => TOP + height * (1 - value / high), ticks: ticks.filter((tick) => tick <= high * 1.001) };
  }

  #apart(ticks, y) {
    const kept = [];
    for (const tick of ticks) if (kept.length === 0 || y(kept.at(-1)) - y(tick) >= LABEL_GAP) kept.push(tick);
    return kept;
  }

  #grid(width, x, y, ticks) {
    const lines = ticks.flatMap((tick) => [
      svg("line", { class: "gridline", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "tick", x: LEFT - 7, y: y(tick) + 3.5, "text-anchor": "end" }, this.format(tick).replace(/\.0(?=\D|$)/, "")),
    ]);
    const step = this.span <= 60 ? 15 : this.span <= 180 ? 60 : width < 480 ? 300 : 120;
    for (let ago = 0; ago <= this.span; ago += step) {
      const anchor = ago === 0 ? "end" : ago === this.span ? "start" : "middle";
      lines.push(svg("text", { class: "tick", x: x(ago), y: this.height - 7, "text-anchor": anchor }, seconds(ago)));
    }
    return lines;
  }

  #line({ key, style }, x, y) {
    let path = "";
    const lonely = [];
    this.points.forEach((point, i) => {
      const has = (other) => other && other.values[key] !== null && other.values[key] !== undefined;
      if (!has(point)) return;
      const at = `${x(point.age).toFixed(1)} ${y(point.values[key]).toFixed(1)}`;
      path += `${has(this.points[i - 1]) ? "L" : "M"}${at}`;
      if (!has(this.points[i - 1]) && !has(this.points[i + 1])) lonely.push(at.split(" "));
    });
    const dots = lonely.map(([cx, cy]) => svg("circle", { class: "dot", cx, cy, r: 2.5 }));
    return svg("g", { class: `series ${style}` }, svg("path", { class: "line", d: path || "M0 0" }), ...dots);
  }

  #drawCursor(y) {
    const point = this.cursor === null ? null : this.points[this.cursor];
    if (!point) return;
    const at = this.x(point.age);
    this.svg.append(svg("line", { class: "cursor", x1: at, x2: at, y1: TOP, y2: this.height - BOTTOM }));
    for (const { key, style } of this.series) {
      const value = point.values[key];
      if (value === null || value === undefined) continue;
      this.svg.append(svg("g", { class: `series ${style}` }, svg("circle", { class: "dot", cx: at, cy: y(value), r: 3.5 })));
    }
  }

  #drawLegend() {
    const point = this.points[this.cursor ?? this.points.length - 1];
    const values = this.series.map(({ key, name }) => `${name} ${this.format(point?.values[key])}`);
    this.when.textContent = this.cursor === null || !point ? "" : `${Math.round(point.age)} s ago`;
    this.legend.replaceChildren(...this.series.map(({ key, name, style }) =>
      el("li", {},
        svg("svg", { class: `swatch series ${style}`, width: 22, height: 10, "aria-hidden": "true" }, svg("path", { class: "line", d: "M1 5H21" })),
        `${name} `, el("b", {}, this.format(point?.values[key])))));
    this.svg.setAttribute("aria-label", `${this.label}, ${this.when.textContent || "now"}: ${values.join(", ")}. Arrow keys move through time.`);
  }

  #moveTo(index) {
    if (index === this.cursor) return;
    this.cursor = index;
    this.draw();
  }

  #point(event) {
    const wanted = event.clientX - this.svg.getBoundingClientRect().left;
    let nearest = null;
    this.points.forEach((point, i) => {
      const distance = Math.abs(this.x(point.age) - wanted);
      if (nearest === null || distance < nearest.distance) nearest = { i, distance };
    });
    this.#moveTo(nearest ? nearest.i : null);
  }

  #key(event) {
    const last = this.points.length - 1;
    if (last < 0) return;
    const at = this.cursor ?? last + (event.key === "ArrowLeft" ? 1 : 0);
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (event.key === "Escape") this.#moveTo(null);
    else if (event.key in moves) {
      event.preventDefault();
      this.#moveTo(Math.min(last, Math.max(0, moves[event.key])));
    }
  }
}
