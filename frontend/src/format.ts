// Every number and date a person sees goes through here, in the locale of the browser.

const whole = new Intl.NumberFormat();
const decimal = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const share = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const byteUnits = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"].map((unit) =>
  new Intl.NumberFormat(undefined, { style: "unit", unit, unitDisplay: unit === "byte" ? "long" : "short", maximumSignificantDigits: 3 }),
);

export const count = (value: number): string => whole.format(value);
export const percent = (part: number): string => share.format(part);
export const rate = (value: number): string => decimal.format(value);

export function bytes(value: number): string {
  let unit = 0;
  while (value >= 999.5 && unit < byteUnits.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return byteUnits[unit]!.format(value);
}

/** Limits are set in powers of two, and 20 MiB shown as 21 MB would promise too much. */
export function limit(value: number): string {
  const mebi = value / 2 ** 20;
  return Number.isInteger(mebi) ? `${count(mebi)} MiB` : bytes(value);
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export const date = (iso: string): string => moment.format(new Date(iso));

export function ago(iso: string, now: number): string {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return relative.format(0, "second");
  if (size < 45 * 60) return relative.format(Math.round(seconds / 60), "minute");
  if (size < 22 * 3600) return relative.format(Math.round(seconds / 3600), "hour");
  if (size < 26 * 86400) return relative.format(Math.round(seconds / 86400), "day");
  return date(iso);
}

export function duration(ms: number): string {
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(undefined, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: 1 }).format(value);
  if (ms < 10_000) return unit(Math.max(0.1, ms / 1000), "second");
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return unit(seconds, "second");
  if (seconds < 3600) return `${unit(Math.floor(seconds / 60), "minute")} ${unit(seconds % 60, "second")}`;
  return `${unit(Math.floor(seconds / 3600), "hour")} ${unit(Math.floor((seconds % 3600) / 60), "minute")}`;
}

/** `JPEG` for image/jpeg. */
export function formatOf({ format }: { format: string | null }): string {
  return format?.replace(/^image\//, "").toUpperCase() ?? "";
}

/** How much smaller, up to 1; below 0 when another format made it larger, null when there is nothing to compare. */
export function saved(before: number | null, after: number | null): number | null {
  return before && after !== null ? 1 - after / before : null;
}

/** `72% saved`, or that it became larger. */
export const gain = (part: number): string => (part < 0 ? `${percent(-part)} larger` : `${percent(part)} saved`);
