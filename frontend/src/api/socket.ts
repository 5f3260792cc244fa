import { createClient } from "graphql-ws";
import { bearer, credentials, FORBIDDEN_SOCKET } from "./key";
import { Signal } from "./signal";

//: Between two pings, so that a connection which died without a word is noticed.
const PING_EVERY_MS = 10_000;
//: How long a pong may take before the connection counts as dead.
const PONG_WITHIN_MS = 5_000;
//: The longest wait between two attempts to connect; a server that restarts is back within seconds.
const RETRY_AT_MOST_MS = 5_000;

export type SocketState = "idle" | "connected" | "lost";

export const socketState = new Signal<SocketState>("idle");

let presented: string | null = null;
let pongTimer = 0;
let skipWait: (() => void) | undefined;

export const socket = createClient({
  url: () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/graphql`,
  connectionParams: () => bearer((presented = credentials.key.value)),
  keepAlive: PING_EVERY_MS,
  // Going from the list to a request should not cost a new connection.
  lazyCloseTimeout: 3_000,
  retryAttempts: Infinity,
  // With the same key it would go on for ever.
  shouldRetry: (problem) => !isForbidden(problem),
  async retryWait(attempt) {
    socketState.set("lost");
    // Jitter, lest every open page comes back in the same moment.
    const wait = Math.min(RETRY_AT_MOST_MS, 300 * 2 ** attempt) * (0.5 + Math.random() / 2);
    await new Promise<void>((resolve) => {
      skipWait = resolve;
      setTimeout(resolve, wait);
    });
  },
  on: {
    connected: () => socketState.set("connected"),
    closed: (event) => {
      clearTimeout(pongTimer);
      const forbidden = isForbidden(event);
      // The client itself closes with 1000 once nothing is subscribed to any more.
      socketState.set(forbidden || (event as CloseEvent).code === 1000 ? "idle" : "lost");
      if (forbidden) credentials.refuse(presented, (event as CloseEvent).reason);
    },
    ping: (received) => {
      if (received) return;
      clearTimeout(pongTimer);
      pongTimer = window.setTimeout(() => socket.terminate(), PONG_WITHIN_MS);
    },
    pong: (received) => received && clearTimeout(pongTimer),
  },
});

const isForbidden = (problem: unknown): boolean => (problem as CloseEvent).code === FORBIDDEN_SOCKET;

// What was opened with one key is not for another.
credentials.key.listen(() => {
  socket.terminate();
  // Nothing was lost; who still listens connects again.
  socketState.set("idle");
});

/** Connects at once instead of waiting for the next attempt. */
export function reconnect(): void {
  skipWait?.();
}

window.addEventListener("online", reconnect);
