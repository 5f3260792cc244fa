import type { OutputFormat, Priority, UploadInput } from "../api/types";

export interface Options {
  webhookUrl: string;
  quality: number;
  /** In percent. */
  scale: number;
  format: OutputFormat;
  priority: Priority;
}

/** The same defaults as in the schema. */
export const defaults: Options = { webhookUrl: "", quality: 50, scale: 100, format: "ORIGINAL", priority: "NORMAL" };

/** Generates the key that makes a repeated upload return the first request. */
export function generateIdempotencyKey(): string {
  // `crypto.randomUUID` exists only under https and on localhost.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function toUploadInput(options: Options, idempotencyKey: string): UploadInput {
  const { quality, scale, format, priority } = options;
  return {
    webhookUrl: options.webhookUrl.trim() || null,
    priority,
    options: { quality, scale: scale / 100, format },
    idempotencyKey,
  };
}

/** The options that differ from the defaults, for the closed panel. */
export function summarizeOptions(options: Options): string {
  return [
    options.quality !== defaults.quality && `quality ${options.quality}`,
    options.scale !== defaults.scale && `${options.scale} % size`,
    options.format !== defaults.format && options.format,
    options.priority !== defaults.priority && `${options.priority.toLowerCase()} priority`,
    options.webhookUrl.trim() && "webhook",
  ]
    .filter(Boolean)
    .join(", ");
}
