// Numbers as people read them. None (null) is a dash, never a zero.

export const NONE = "–";

const digits = (value, most, least = 1) => value.toLocaleString("en", {
  maximumSignificantDigits: most, minimumSignificantDigits: least, useGrouping: value >= 1e4,
});

/** A number of things. */
export const things = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;

/** Milliseconds with their unit. */
export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return NONE;
  if (milliseconds === 0) return "0 ms";
  if (milliseconds >= 9999.5) return `${digits(milliseconds / 1e3, 3)} s`;
  if (milliseconds > 0 && milliseconds < 0.0995) return `${digits(milliseconds * 1e3, 2, 2)} µs`;
  return milliseconds < 9.95 ? `${digits(milliseconds, 2, 2)} ms` : `${digits(milliseconds, 3, 3)} ms`;
}

/** To be read under one another: as many digits for each. */
export const score = (value) => (value === null || value === undefined ? NONE : digits(value, 6, 6));

export const number = (value, significant = 3) => (value === null || value === undefined ? NONE : digits(value, significant));

export const count = (value) => Math.round(value).toLocaleString("en");

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  if (share === 0) return "0 %";
  return share < 0.0005 ? `${digits(share * 100, 1)} %` : `${(share * 100).toFixed(1)} %`;
}

export const times = (ratio) => (ratio ? `${ratio < 9.95 ? digits(ratio, 2, 2) : digits(ratio, 3, 3)}×` : NONE);

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, size)) / 10));
  return `${digits(size / 1024 ** power, 3)} ${units[power]}`;
}

/** A difference of logits: its size matters, not its digits. */
export const tiny = (value) => (value === 0 ? "0" : value.toExponential(1).replace("-", "−"));

/** How long ago, of a moment in milliseconds since 1970. */
export function ago(moment, now = Date.now()) {
  const seconds = (now - moment) / 1e3;
  if (seconds < -60) return new Date(moment).toISOString().slice(0, 10);
  const steps = [[60, "s"], [60, "min"], [24, "h"], [365, "d"]];
  let value = Math.max(0, seconds);
  for (const [size, unit] of steps) {
    if (value < size) return `${Math.floor(value)} ${unit} ago`;
    value /= size;
  }
  return new Date(moment).toISOString().slice(0, 10);
}
