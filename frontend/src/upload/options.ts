import type { OutputFormat, Priority, UploadInput } from "../api/types";
import { nameProfile } from "../requests/profile";

type Processing = NonNullable<UploadInput["options"]>;
export type Metadata = NonNullable<Processing["metadata"]>;
export type Fit = NonNullable<Processing["fit"]>;
export type Effort = NonNullable<Processing["effort"]>;
export type ImageFilter = NonNullable<Processing["filters"]>[number];
export type CsvProfile = NonNullable<UploadInput["profile"]>;
export type InvalidRowPolicy = NonNullable<UploadInput["onInvalidRow"]>;

/** One of several files of each image. Null and empty choices: as in the other options. */
export interface Output {
  name: string;
  format: OutputFormat | "";
  maxWidth: number | null;
  maxHeight: number | null;
  fit: Fit | "";
  quality: number | null;
  effort: Effort | "";
}

export interface Options {
  webhookUrl: string;
  quality: number;
  /** In percent. */
  scale: number;
  format: OutputFormat;
  /** In pixels; null: no limit. */
  maxWidth: number | null;
  maxHeight: number | null;
  fit: Fit;
  /** Of a result, in thousands of bytes; null: no limit. */
  maxKilobytes: number | null;
  /** 0 to 100; null: no floor. */
  minSimilarity: number | null;
  /** In pixels of the source image. */
  crop: Record<"x" | "y" | "width" | "height", number | null>;
  trim: boolean;
  /** A ratio such as 1:1, or a least size such as 800x600; empty: none. */
  pad: string;
  /** Empty: transparent or white. */
  padColor: string;
  filters: ImageFilter[];
  metadata: Metadata;
  effort: Effort;
  /** Template of the readable name in each URL; empty: the default. */
  fileName: string;
  /** None: one file of each image. */
  outputs: readonly Output[];
  /** Whether each URL serves the best of several outputs that a browser accepts. */
  negotiate: boolean;
  priority: Priority;
  /** Empty: the server detects it. */
  profile: CsvProfile | "";
  encoding: string;
  /** Empty: as usual for the profile. */
  onInvalidRow: InvalidRowPolicy | "";
  /** Whether to process images again that are unchanged. */
  refresh: boolean;
  /** Whether to ask for the columns of a file that is recognized, too. */
  choosesColumns: boolean;
  /** Whether a file is measured before it is uploaded. */
  estimates: boolean;
}

/** What was chosen for one file. */
export type FileChoice = Pick<UploadInput, "columns" | "sheet">;

/** The same defaults as in the schema. */
export const defaults: Options = {
  webhookUrl: "",
  quality: 50,
  scale: 100,
  format: "ORIGINAL",
  maxWidth: null,
  maxHeight: null,
  fit: "INSIDE",
  maxKilobytes: null,
  minSimilarity: null,
  crop: { x: null, y: null, width: null, height: null },
  trim: false,
  pad: "",
  padColor: "",
  filters: [],
  metadata: "COPYRIGHT",
  effort: "BALANCED",
  fileName: "",
  outputs: [],
  negotiate: false,
  priority: "NORMAL",
  profile: "",
  encoding: "",
  onInvalidRow: "",
  refresh: false,
  choosesColumns: false,
  estimates: false,
};

/** Generates the key that makes a repeated upload return the first request. */
export function generateIdempotencyKey(): string {
  // `crypto.randomUUID` exists only under https and on localhost.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function toUploadInput(options: Options, choice: FileChoice, idempotencyKey: string): UploadInput {
  const { quality, scale, format, maxWidth, maxHeight, fit, filters, metadata, effort, priority, refresh } = options;
  return {
    webhookUrl: options.webhookUrl.trim() || null,
    priority,
    options: {
      quality,
      scale: scale / 100,
      format,
      maxWidth,
      maxHeight,
      fit,
      maxBytes: options.maxKilobytes === null ? null : options.maxKilobytes * 1000,
      minSimilarity: options.minSimilarity,
      crop: toCrop(options.crop),
      trim: options.trim,
      pad: toPad(options),
      filters,
      metadata,
      effort,
      fileName: options.fileName.trim() || null,
      outputs: options.outputs.map(toOutput),
      // The choice is hidden if there are fewer.
      negotiate: negotiates(options),
    },
    idempotencyKey,
    profile: options.profile || null,
    encoding: options.encoding.trim() || null,
    onInvalidRow: options.onInvalidRow || null,
    refresh,
    ...choice,
  };
}

/** All fields, so that one that the schema adds does not compile. */
function toOutput({ name, format, fit, effort, ...numbers }: Output): Required<NonNullable<Processing["outputs"]>[number]> {
  return { name: name.trim(), format: format || null, fit: fit || null, effort: effort || null, ...numbers };
}

function negotiates({ negotiate, outputs }: Options): boolean {
  return negotiate && outputs.length > 1;
}

/** A missing size becomes 0, which the server refuses with a message. */
function toCrop({ x, y, width, height }: Options["crop"]): Processing["crop"] {
  const isEmpty = [x, y, width, height].every((number) => number === null);
  return isEmpty ? null : { x: x ?? 0, y: y ?? 0, width: width ?? 0, height: height ?? 0 };
}

/** The server refuses what is neither a ratio nor a size. */
function toPad({ pad, padColor }: Options): Processing["pad"] {
  const [, width, height] = /^\s*(\d+)\s*[x×]\s*(\d+)\s*$/i.exec(pad) ?? [];
  const color = padColor.trim() || null;
  if (width && height) return { width: Number(width), height: Number(height), color };
  return pad.trim() ? { ratio: pad.trim(), color } : null;
}

/** The options that differ from the defaults, for the closed panel. */
export function summarizeOptions(options: Options): string {
  return [
    options.quality !== defaults.quality && `quality ${options.quality}`,
    options.scale !== defaults.scale && `${options.scale} % size`,
    options.format !== defaults.format && options.format,
    (options.maxWidth ?? options.maxHeight) !== null && `at most ${options.maxWidth ?? "any"} × ${options.maxHeight ?? "any"} pixels`,
    options.fit !== defaults.fit && "cut to fit",
    options.maxKilobytes !== null && `at most ${options.maxKilobytes} kB`,
    options.minSimilarity !== null && `similarity ${options.minSimilarity}`,
    toCrop(options.crop) && "cropped",
    options.trim && "trimmed",
    options.pad.trim() && `padded to ${options.pad.trim()}`,
    ...options.filters.map((filter) => filter.toLowerCase()),
    options.metadata !== defaults.metadata && (options.metadata === "ALL" ? "all metadata" : "no metadata"),
    options.effort !== defaults.effort && `${options.effort.toLowerCase()} effort`,
    options.fileName.trim() && "file names",
    options.outputs.length > 0 && `outputs ${options.outputs.map(({ name }) => name.trim()).join(" and ")}`,
    negotiates(options) && "best format for each browser",
    options.profile && nameProfile(options.profile),
    options.onInvalidRow && "invalid rows",
    options.refresh && "process again",
    options.priority !== defaults.priority && `${options.priority.toLowerCase()} priority`,
    options.webhookUrl.trim() && "webhook",
    options.encoding.trim(),
    options.choosesColumns && "choose the columns",
  ]
    .filter(Boolean)
    .join(", ");
}
