import { beforeEach, expect, it, vi } from "vitest";
import { authorizationHeader, Credentials, parseKey } from "./key";

const KEY = `gip_${"a1".repeat(6)}_${"Zz09".repeat(10)}`;
const OTHER = `gip_${"b2".repeat(6)}_${"Zz09".repeat(10)}`;
const stored = new Map<string, string>();
const storage = {
  getItem: (name: string) => stored.get(name) ?? null,
  setItem: (name: string, value: string) => void stored.set(name, value),
  removeItem: (name: string) => void stored.delete(name),
};

beforeEach(() => stored.clear());

it("finds the key in pasted text", () => {
  for (const text of [KEY, ` ${KEY}\n`, `"${KEY}"`, `Bearer ${KEY}`, `bearer  ${KEY}`]) expect(parseKey(text)).toBe(KEY);
  for (const text of ["", "gip_", KEY.slice(1), KEY.slice(0, -1), `${KEY}x`, `${KEY} ${KEY}`, "whsec_abc"]) expect(parseKey(text)).toBeNull();
});

it("stores a key only when asked to", () => {
  const first = new Credentials(() => storage);
  first.use(KEY, { remember: false });
  expect(stored.size).toBe(0);
  expect(authorizationHeader(first.key.value)).toEqual({ Authorization: `Bearer ${KEY}` });

  first.use(KEY, { remember: true });
  expect([...stored.values()]).toEqual([KEY]);
  const reloaded = new Credentials(() => storage);
  expect(reloaded.key.value).toBe(KEY);

  reloaded.forget();
  expect(stored.size).toBe(0);
  expect(reloaded.key.value).toBeNull();
  expect(authorizationHeader(null)).toEqual({});
});

it("removes a rejected key and asks for another one", () => {
  const credentials = new Credentials(() => storage);
  credentials.reject(null, "Send it as `Authorization: Bearer gip_…`.");
  // The server's message is for programs; people get a simpler one.
  expect(credentials.prompt.value).toBe("This service requires an API key.");

  credentials.use(KEY, { remember: true });
  expect(credentials.prompt.value).toBeNull();
  credentials.reject(KEY, "Invalid API key. It was revoked.");

  expect(credentials.prompt.value).toBe("Invalid API key. It was revoked.");
  expect(credentials.key.value).toBeNull();
  expect(stored.size).toBe(0);
});

it("ignores a late answer to an earlier key", () => {
  const credentials = new Credentials(() => storage);
  credentials.use(OTHER, { remember: true });

  credentials.reject(null, "sent before the key was entered");
  credentials.reject(KEY, "Invalid API key.");

  expect(credentials.prompt.value).toBeNull();
  expect(credentials.key.value).toBe(OTHER);
});

it("works without storage and with full storage", () => {
  const refuses = vi.fn(() => {
    throw new DOMException("no");
  });
  const none = new Credentials(refuses);
  const full = new Credentials(() => ({ ...storage, setItem: refuses }));
  for (const credentials of [none, full]) {
    credentials.use(KEY, { remember: true });
    expect(credentials.key.value).toBe(KEY);
    credentials.forget();
    expect(credentials.key.value).toBeNull();
  }
  expect(refuses).toHaveBeenCalledTimes(2);
});
