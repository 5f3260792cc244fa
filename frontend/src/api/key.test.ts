import { beforeEach, expect, it, vi } from "vitest";
import { bearer, Credentials, keyIn } from "./key";

const KEY = `gip_${"a1".repeat(6)}_${"Zz09".repeat(10)}`;
const OTHER = `gip_${"b2".repeat(6)}_${"Zz09".repeat(10)}`;
const kept = new Map<string, string>();
const place = {
  getItem: (name: string) => kept.get(name) ?? null,
  setItem: (name: string, value: string) => void kept.set(name, value),
  removeItem: (name: string) => void kept.delete(name),
};

beforeEach(() => kept.clear());

it("finds the key in what was pasted", () => {
  for (const text of [KEY, ` ${KEY}\n`, `"${KEY}"`, `Bearer ${KEY}`, `bearer  ${KEY}`]) expect(keyIn(text)).toBe(KEY);
  for (const text of ["", "gip_", KEY.slice(1), KEY.slice(0, -1), `${KEY}x`, `${KEY} ${KEY}`, "whsec_abc"]) expect(keyIn(text)).toBeNull();
});

it("keeps a key where it was told to, and nowhere else", () => {
  const first = new Credentials(() => place);
  first.use(KEY, false);
  expect(kept.size).toBe(0);
  expect(bearer(first.key.value)).toEqual({ Authorization: `Bearer ${KEY}` });

  first.use(KEY, true);
  expect([...kept.values()]).toEqual([KEY]);
  const reloaded = new Credentials(() => place);
  expect(reloaded.key.value).toBe(KEY);

  reloaded.forget();
  expect(kept.size).toBe(0);
  expect(reloaded.key.value).toBeNull();
  expect(bearer(null)).toEqual({});
});

it("asks for another one when it is refused, and forgets it", () => {
  const credentials = new Credentials(() => place);
  credentials.refuse(null, "Send it as `Authorization: Bearer gip_…`.");
  // What is meant for programs is not told to people.
  expect(credentials.asked.value).toBe("This service asks for an API key.");

  credentials.use(KEY, true);
  expect(credentials.asked.value).toBeNull();
  credentials.refuse(KEY, "The API key is refused. It was revoked.");

  expect(credentials.asked.value).toBe("The API key is refused. It was revoked.");
  expect(credentials.key.value).toBeNull();
  expect(kept.size).toBe(0);
});

it("takes an answer to an earlier key for no word on this one", () => {
  const credentials = new Credentials(() => place);
  credentials.use(OTHER, true);

  credentials.refuse(null, "asked before the key was given");
  credentials.refuse(KEY, "The API key is refused.");

  expect(credentials.asked.value).toBeNull();
  expect(credentials.key.value).toBe(OTHER);
});

it("does without a store, and with a full one", () => {
  const refuses = vi.fn(() => {
    throw new DOMException("no");
  });
  const none = new Credentials(refuses);
  const full = new Credentials(() => ({ ...place, setItem: refuses }));
  for (const credentials of [none, full]) {
    credentials.use(KEY, true);
    expect(credentials.key.value).toBe(KEY);
    credentials.forget();
    expect(credentials.key.value).toBeNull();
  }
  expect(refuses).toHaveBeenCalledTimes(2);
});
