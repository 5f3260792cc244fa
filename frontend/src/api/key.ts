import { Signal } from "./signal";

const STORAGE_KEY = "gql_imgproc.key";
const API_KEY_FORMAT = /^gip_[0-9A-Za-z]{12}_[0-9A-Za-z]{40}$/;
//: How the server rejects a key: the close code of a WebSocket, and the code of a GraphQL error.
export const FORBIDDEN_CLOSE_CODE = 4403;
export const UNAUTHENTICATED = "UNAUTHENTICATED";

type KeyStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** The API key in pasted text, with or without quotes and `Bearer`; null if there is none. */
export function parseKey(text: string): string | null {
  const bare = text.trim().replace(/^Bearer\s+/i, "").replace(/^["']|["']$/g, "");
  return API_KEY_FORMAT.test(bare) ? bare : null;
}

/** The API key of this tab. It is kept in memory and, on request, in session storage, which survives a reload. */
export class Credentials {
  readonly key = new Signal<string | null>(null);
  /** Why the server requires a key; null while it does not. */
  readonly prompt = new Signal<string | null>(null);
  #storage: KeyStorage | null;

  constructor(openStorage: () => KeyStorage) {
    try {
      this.#storage = openStorage();
      this.key.value = parseKey(this.#storage.getItem(STORAGE_KEY) ?? "");
    } catch {
      // The browser is set to block site data.
      this.#storage = null;
    }
  }

  use(key: string, { remember }: { remember: boolean }): void {
    if (remember) this.#store(key);
    this.key.set(key);
    this.prompt.set(null);
  }

  forget(): void {
    this.#store(null);
    this.key.set(null);
  }

  /** Handles a rejected key, or a missing one. A late answer to an earlier key changes nothing. */
  reject(presented: string | null, reason: string): void {
    if (presented !== this.key.value) return;
    // Set before the key is removed, so that the page shows the key form at once.
    this.prompt.set(presented ? reason : "This service requires an API key.");
    this.forget();
  }

  #store(key: string | null): void {
    try {
      if (key) this.#storage?.setItem(STORAGE_KEY, key);
      else this.#storage?.removeItem(STORAGE_KEY);
    } catch {
      // The storage is full; the key stays in memory.
    }
  }
}

export const credentials = new Credentials(() => sessionStorage);

/** The authorization header of an HTTP request, also sent in the first message of a WebSocket. */
export const authorizationHeader = (key: string | null): Record<string, string> => (key ? { Authorization: `Bearer ${key}` } : {});
