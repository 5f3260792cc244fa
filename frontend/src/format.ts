// Formats every number and date on the page in the browser's locale.

import type { Image } from "./api/types";

const integerFormat = new Intl.NumberFormat();
const decimalFormat = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const percentFormat = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const ageFormat = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const byteFormats = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"].map((unit) =>
  new Intl.NumberFormat(undefined, { style: "unit", unit, unitDisplay: unit === "byte" ? "long" : "short", maximumSignificantDigits: 3 }),
);

export const formatCount = (value: number): string => integerFormat.format(value);
export const formatPercent = (part: number): string => percentFormat.format(part);
export const formatRate = (value: number): string => decimalFormat.format(value);

export function formatBytes(value: number): string {
  let unit = 0;
  while (value >= 999.5 && unit < byteFormats.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return byteFormats[unit]!.format(value);
}

/** Limits are powers of two: 20 MiB shown as 21 MB would be more than the server accepts. */
export function formatLimit(value: number): string {
  const mebi = value / 2 ** 20;
  return Number.isInteger(mebi) ? `${formatCount(mebi)} MiB` : formatBytes(value);
}

export function pluralize(value: number, one: string, many = `${one}s`): string {
  return `${formatCount(value)} ${value === 1 ? one : many}`;
}

export const formatDate = (iso: string): string => dateFormat.format(new Date(iso));

export function formatAge(iso: string, now: number): string {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return ageFormat.format(0, "second");
  if (size < 45 * 60) return ageFormat.format(Math.round(seconds / 60), "minute");
  if (size < 22 * 3600) return ageFormat.format(Math.round(seconds / 3600), "hour");
  if (size < 26 * 86400) return ageFormat.format(Math.round(seconds / 86400), "day");
  return formatDate(iso);
}

export function formatDuration(ms: number): string {
  const format = (value: number, name: string) =>
    new Intl.NumberFormat(undefined, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: 1 }).format(value);
  if (ms < 10_000) return format(Math.max(0.1, ms / 1000), "second");
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return format(seconds, "second");
  if (seconds < 3600) return `${format(Math.floor(seconds / 60), "minute")} ${format(seconds % 60, "second")}`;
  return `${format(Math.floor(seconds / 3600), "hour")} ${format(Math.floor((seconds % 3600) / 60), "minute")}`;
}

/** `JPEG` for `image/jpeg`. */
export function formatName({ format }: { format: string | null }): string {
  return format?.replace(/^image\//, "").toUpperCase() ?? "";
}

/** Share of bytes saved, at most 1. Negative if the output is larger; null if there is nothing to compare. */
export function savedShare(before: number | null, after: number | null): number | null {
  return before && after !== null ? 1 - after / before : null;
}

/** Whether the stored image has the bytes of its source. */
export const isKept = (image: Image): boolean =>
  image.outcome === "KEPT" || (image.outcome === "REUSED" && image.inputBytes === image.outputBytes);

/** `72% saved` or `12% larger`. */
export const formatSaving = (part: number): string => (part < 0 ? `${formatPercent(-part)} larger` : `${formatPercent(part)} saved`);
