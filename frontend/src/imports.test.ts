import { expect, it } from "vitest";

const sources = import.meta.glob<string>(["./**/*.{ts,tsx}", "../graphiql/*.ts"], { query: "?raw", import: "default", eager: true });

it("has no import cycle", () => {
  expect(findCycle(new Map(Object.entries(sources).map(([path, text]) => [path, importsOf(path, text)])))).toBeNull();
});

it("would find an import cycle", () => {
  const imports = new Map([["./a", ["./b"]], ["./b", ["./c", "./d"]], ["./c", []], ["./d", ["./a"]]]);

  expect(findCycle(imports)).toEqual(["./a", "./b", "./d", "./a"]);
});

/** The modules of the page that a module imports, type imports included. */
function importsOf(path: string, text: string): string[] {
  return [...text.matchAll(/^(?:import|export)\b[^"]*?"(\.[^"?]+)"/gm)]
    .map(([, target]) => new URL(target!, new URL(path, "file:///frontend/src/")).pathname)
    .map((target) => Object.keys(sources).find((known) => new URL(known, "file:///frontend/src/").pathname.replace(/\.tsx?$/, "") === target))
    .filter((target) => target !== undefined);
}

/** The first import cycle, or null. */
function findCycle(imports: Map<string, string[]>): string[] | null {
  const checked = new Set<string>();
  const visit = (module: string, chain: string[]): string[] | null => {
    if (chain.includes(module)) return [...chain.slice(chain.indexOf(module)), module];
    if (checked.has(module)) return null;
    for (const next of imports.get(module) ?? []) {
      const cycle = visit(next, [...chain, module]);
      if (cycle) return cycle;
    }
    checked.add(module);
    return null;
  };
  for (const module of imports.keys()) {
    const cycle = visit(module, []);
    if (cycle) return cycle;
  }
  return null;
}
