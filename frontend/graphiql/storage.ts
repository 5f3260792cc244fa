//: Entries in which GraphiQL stores executed operations with their headers.
const HISTORY = ["graphiql:queries", "graphiql:favorites"];

/** Local storage without request headers, since they may contain an API key. */
export const storage = {
  get length(): number {
    return localStorage.length;
  },
  clear: () => localStorage.clear(),
  getItem: (name: string) => localStorage.getItem(name),
  removeItem: (name: string) => localStorage.removeItem(name),
  setItem: (name: string, value: string) => localStorage.setItem(name, HISTORY.includes(name) ? withoutHeaders(value) : value),
};

export const withoutHeaders = (text: string): string =>
  JSON.stringify(JSON.parse(text, (name, value: unknown) => (name === "headers" ? undefined : value)));
