import { expect, it } from "vitest";
import { guessRoles } from "./column-dialog";

it("guesses the columns of a file", () => {
  const rows = [["7", "Oak chair", "", "https://a.example/1.jpg"]];

  expect(guessRoles({ columns: ["SKU", "Product name", "Title", "Photo"], rows })).toEqual(["id", "name", "", "images"]);
  expect(guessRoles({ columns: ["", "Photo"], rows: [["https://a.example/1.jpg", ""]] })).toEqual(["", ""]);
});
