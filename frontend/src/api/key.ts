import { Signal } from "./signal";

const PLACE = "gql_imgproc.key";
const FORM = /^gip_[0-9A-Za-z]{12}_[0-9A-Za-z]{40}$/;
//: By these the service tells that a caller may not come in: the status of a socket that it closes, the code of an error.
export const FORBIDDEN_SOCKET = 4403;
export const UNAUTHENTICATED = "UNAUTHENTICATED";

type Place = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** The key in what somebody pasted, quotes and `Bearer` around it or not; null when there is none. */
export function keyIn(text: string): string | null {
  const bare = text.trim().replace(/^Bearer\s+/i, "").replace(/^["']|["']$/g, "");
  return FORM.test(bare) ? bare : null;
}

/** The API key of this tab: in memory and, if wanted, where it outlives a reload but not the tab. */
export class Credentials {
  readonly key = new Signal<string | null>(null);
  /** Why a key is asked for, as the service says it; null while it is not. */
  readonly asked = new Signal<string | null>(null);
  #place: Place | null;

  constructor(place: () => Place) {
    try {
      this.#place = place();
      this.key.value = keyIn(this.#place.getItem(PLACE) ?? "");
    } catch {
      // Browsers can be told to keep nothing.
      this.#place = null;
    }
  }

  use(key: string, keep: boolean): void {
    if (keep) this.#keep(key);
    this.key.set(key);
    this.asked.set(null);
  }

  forget(): void {
    this.#keep(null);
    this.key.set(null);
  }

  /** What was `presented` is not good, or nothing was; what was said of an earlier key does not count any more. */
  refuse(presented: string | null, reason: string): void {
    if (presented !== this.key.value) return;
    // Before the key goes: the page goes straight over to asking.
    this.asked.set(presented ? reason : "This service asks for an API key.");
    this.forget();
  }

  #keep(key: string | null): void {
    try {
      if (key) this.#place?.setItem(PLACE, key);
      else this.#place?.removeItem(PLACE);
    } catch {
      // Full: it stays in memory.
    }
  }
}

export const credentials = new Credentials(() => sessionStorage);

/** What presents a key, as the header of a request or in the first message of a socket. */
export const bearer = (key: string | null): Record<string, string> => (key ? { Authorization: `Bearer ${key}` } : {});
