import { expect, test } from "vitest";
import { defaults, summarizeOptions, toUploadInput } from "./options";

test("an upload with the defaults names none of the optional fields", () => {
  expect(toUploadInput(defaults, {}, "key")).toEqual({
    webhookUrl: null,
    priority: "NORMAL",
    options: {
      quality: 50,
      scale: 1,
      format: "ORIGINAL",
      maxWidth: null,
      maxHeight: null,
      fit: "INSIDE",
      maxBytes: null,
      minSimilarity: null,
      crop: null,
      trim: false,
      pad: null,
      filters: [],
      metadata: "COPYRIGHT",
      effort: "BALANCED",
      fileName: null,
      outputs: [],
      negotiate: false,
    },
    idempotencyKey: "key",
    profile: null,
    encoding: null,
    onInvalidRow: null,
    refresh: false,
  });
  expect(summarizeOptions(defaults)).toBe("");
});

test("chosen options are sent, and named while the panel is closed", () => {
  const options = {
    ...defaults,
    maxWidth: 800,
    fit: "COVER" as const,
    maxKilobytes: 500,
    minSimilarity: 70,
    crop: { x: null, y: 5, width: 100, height: 50 },
    trim: true,
    pad: " 800 x 600",
    padColor: "#f0f0f0",
    filters: ["SHARPEN" as const],
    metadata: "NONE" as const,
    effort: "SMALL" as const,
    fileName: " {sku} ",
    outputs: [
      { name: " large ", format: "" as const, maxWidth: 1600, maxHeight: null, fit: "" as const, quality: null, effort: "" as const },
      { name: "thumb", format: "WEBP" as const, maxWidth: 200, maxHeight: 200, fit: "COVER" as const, quality: 40, effort: "FAST" as const },
    ],
    negotiate: true,
    profile: "SHOPIFY" as const,
    onInvalidRow: "SKIP_ROW" as const,
    refresh: true,
  };

  expect(toUploadInput(options, { sheet: "Products" }, "key")).toMatchObject({
    options: {
      maxWidth: 800,
      maxHeight: null,
      fit: "COVER",
      maxBytes: 500_000,
      minSimilarity: 70,
      crop: { x: 0, y: 5, width: 100, height: 50 },
      trim: true,
      pad: { width: 800, height: 600, color: "#f0f0f0" },
      filters: ["SHARPEN"],
      metadata: "NONE",
      effort: "SMALL",
      fileName: "{sku}",
      outputs: [
        { name: "large", format: null, maxWidth: 1600, maxHeight: null, fit: null, quality: null, effort: null },
        { name: "thumb", format: "WEBP", maxWidth: 200, maxHeight: 200, fit: "COVER", quality: 40, effort: "FAST" },
      ],
      negotiate: true,
    },
    profile: "SHOPIFY",
    onInvalidRow: "SKIP_ROW",
    refresh: true,
    sheet: "Products",
  });
  expect(summarizeOptions(options)).toBe(
    "at most 800 × any pixels, cut to fit, at most 500 kB, similarity 70, cropped, trimmed, padded to 800 x 600, sharpen, no metadata, small effort, file names, outputs large and thumb, best format for each browser, Shopify export, invalid rows, process again",
  );
});

test("formats are not negotiated if a removed output leaves no choice", () => {
  const output = { name: "large", format: "", maxWidth: null, maxHeight: null, fit: "", quality: null, effort: "" } as const;
  const options = { ...defaults, negotiate: true, outputs: [output] };
  expect(toUploadInput(options, {}, "key").options?.negotiate).toBe(false);
  expect(summarizeOptions(options)).toBe("outputs large");
});

test("a crop without a size is left to the server to refuse", () => {
  const options = { ...defaults, crop: { ...defaults.crop, x: 3 } };
  expect(toUploadInput(options, {}, "key").options?.crop).toEqual({ x: 3, y: 0, width: 0, height: 0 });
});

test("padding is a ratio or a size; anything else is left to the server to refuse", () => {
  const pad = (text: string) => toUploadInput({ ...defaults, pad: text }, {}, "key").options?.pad;
  expect(pad("1000×500")).toEqual({ width: 1000, height: 500, color: null });
  expect(pad(" 4:3 ")).toEqual({ ratio: "4:3", color: null });
  expect(pad("square")).toEqual({ ratio: "square", color: null });
});
