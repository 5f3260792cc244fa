import { useState } from "preact/hooks";
import type { CsvPreview } from "../api/types";
import { Dialog } from "../parts/dialog";
import type { FileChoice } from "./options";

const roles = { "": "Not used", images: "Image URLs", name: "Product name", id: "Product ID" };
type Role = keyof typeof roles;

interface Props {
  file: File;
  preview: CsvPreview;
  onChoose: (choice: FileChoice) => void;
  onClose: () => void;
}

/** Asks which columns of a file have images, with its first rows. */
export function ColumnDialog({ file, preview, onChoose, onClose }: Props) {
  const { columns, rows, sheet, sheets } = preview;
  const [chosen, setChosen] = useState<Role[]>(() => guessRoles(preview));
  const named = (role: Role) => columns.filter((_, index) => chosen[index] === role);
  const images = named("images");
  return (
    <Dialog label={`Columns of ${file.name}`} class="columns-dialog" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onChoose({ sheet, columns: { images, name: named("name")[0] ?? null, id: named("id")[0] ?? null } });
        }}
      >
        <h2>Which columns have the images?</h2>
        <p class="facts">
          {preview.profile ? "Choose" : "This file is not the export of a shop that we know. Choose"} at least one column with image URLs. Everything
          else comes back as it is.
        </p>
        {sheets.length > 1 && (
          <label>
            Sheet{" "}
            <select value={sheet ?? ""} onChange={(e) => onChoose({ sheet: e.currentTarget.value })}>
              {sheets.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <div class="issues" tabIndex={0} role="region" aria-label="First rows">
          <table>
            <thead>
              <tr>
                {columns.map((name, index) => (
                  <th key={index} scope="col">
                    <bdi>{name || `Column ${index + 1}`}</bdi>
                    <select
                      aria-label={`Use of ${name || `column ${index + 1}`}`}
                      disabled={!name}
                      value={chosen[index]}
                      onChange={(e) => setChosen(chosen.map((role, at) => (at === index ? (e.currentTarget.value as Role) : role)))}
                    >
                      {Object.entries(roles).map(([value, text]) => (
                        <option key={value} value={value}>
                          {text}
                        </option>
                      ))}
                    </select>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((cells, row) => (
                <tr key={row}>
                  {cells.map((cell, index) => (
                    <td key={index}>{cell}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button class="main" disabled={images.length === 0}>
            Upload
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** Columns with URLs have images; names tell the others. */
export function guessRoles({ columns, rows }: Pick<CsvPreview, "columns" | "rows">): Role[] {
  const found = columns.map((name, index): Role => (name && rows.some((cells) => /^\s*https?:\/\//i.test(cells[index] ?? "")) ? "images" : ""));
  const mark = (role: Role, pattern: RegExp) => {
    const index = columns.findIndex((name, at) => !found[at] && pattern.test(name));
    if (index >= 0) found[index] = role;
  };
  mark("name", /name|title/i);
  mark("id", /^(id|sku|handle|number|s\.? ?no\.?)$/i);
  return found;
}
