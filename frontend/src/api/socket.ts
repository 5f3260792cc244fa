import { createClient } from "graphql-ws";
import { authorizationHeader, credentials, FORBIDDEN_CLOSE_CODE } from "./key";
import { Signal } from "./signal";

//: Time between two pings, which detect a connection that died silently.
const PING_EVERY_MS = 10_000;
//: Without a pong within this time the connection counts as dead.
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
  connectionParams: () => authorizationHeader((presented = credentials.key.value)),
  keepAlive: PING_EVERY_MS,
  // Navigation from the list to a request keeps the connection.
  lazyCloseTimeout: 3_000,
  retryAttempts: Infinity,
  // A retry with the same key would fail without end.
  shouldRetry: (problem) => !isForbidden(problem),
  async retryWait(attempt) {
    socketState.set("lost");
    // Jitter, so that not all open pages reconnect in the same moment.
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
      // The client itself closes with 1000 when the last subscription ends.
      socketState.set(forbidden || (event as CloseEvent).code === 1000 ? "idle" : "lost");
      if (forbidden) credentials.reject(presented, (event as CloseEvent).reason);
    },
    ping: (received) => {
      if (received) return;
      clearTimeout(pongTimer);
      pongTimer = window.setTimeout(() => socket.terminate(), PONG_WITHIN_MS);
    },
    pong: (received) => received && clearTimeout(pongTimer),
  },
});

const isForbidden = (problem: unknown): boolean => (problem as CloseEvent).code === FORBIDDEN_CLOSE_CODE;

// A connection that was opened with one key must not serve another.
credentials.key.listen(() => {
  socket.terminate();
  // This is no lost connection: open subscriptions reconnect.
  socketState.set("idle");
});

/** Connects at once instead of waiting for the next attempt. */
export function reconnect(): void {
  skipWait?.();
}

window.addEventListener("online", reconnect);
