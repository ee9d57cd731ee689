import type { CallOptions, Subscription } from "../wire/delivery.ts";
import { MustreachClientError, toNetworkError } from "../wire/error.ts";
import type { Received } from "../wire/event.ts";
import { createGrowingWindow } from "../wire/growing-window.ts";
import type { ReceiveStream } from "../wire/stream-receiving.ts";
import { readEvent, toObject, toText } from "./event-json.ts";
import { toRequestJson } from "./request-json.ts";

/** What the service's `/ws` speaks. */
const protocol = "mustreach.v1.json";

/** A socket silent for this long is asked for a sign of life, in milliseconds. */
const pingMs = 20_000;

/** With which a service closes that asks to connect again. */
const serviceRestart = 1012;

/** Opens a session over a WebSocket: Receive in JSON. The token is in the first message, and never in the address. */
export function openSocketStream(
  baseUrl: string,
  request: Subscription,
  { token, signal }: CallOptions,
): ReceiveStream {
  const url = new URL(baseUrl.replace(/\/?$/, "/ws"));
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url, protocol);
  const waiting: Received[] = [];
  let end: { readonly error?: unknown } | undefined;
  let wake = () => {};
  let isHeard = true;
  const pinging = setInterval(() => {
    if (!isHeard) say({ ping: {} });
    isHeard = false;
  }, pingMs);
  const window = request.window ? undefined : createGrowingWindow((to) => say({ changeWindow: { window: to } }));

  function say(message: object) {
    if (socket.readyState === WebSocket.OPEN) socket.send(toRequestJson(message));
  }

  function finish(next: { readonly error?: unknown }) {
    end ??= next;
    wake();
  }

  function abort() {
    finish({ error: signal.reason });
  }

  function take(text: string) {
    isHeard = true;
    const json = toObject(JSON.parse(text));
    if (json.error !== undefined) return finish({ error: toError(toObject(json.error)) });
    const event = readEvent(json);
    window?.came(event);
    waiting.push(event);
    wake();
  }

  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  socket.onopen = () => say({ token, subscribe: request });
  socket.onmessage = ({ data }) => {
    try {
      take(String(data));
    } catch (thrown) {
      finish({ error: thrown });
    }
  };
  // Where a policy of the page forbids it, there is no close after this.
  socket.onerror = () => finish({ error: toNetworkError("the WebSocket failed") });
  socket.onclose = ({ code }) =>
    finish(code === serviceRestart ? {} : { error: toNetworkError(`the WebSocket was closed with ${code}`) });

  return {
    async next() {
      for (;;) {
        const value = waiting.shift();
        if (value !== undefined && !signal.aborted) return { done: false, value };
        if (end !== undefined && "error" in end) throw end.error;
        if (end !== undefined) return { done: true, value: undefined };
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    acknowledge({ sequence, epoch }) {
      say({ acknowledge: { sequence, epoch } });
      window?.acknowledged(sequence);
    },
    acknowledged: (sequence) => window?.acknowledged(sequence),
    pause: () => say({ pause: { isPaused: true } }),
    close() {
      clearInterval(pinging);
      signal.removeEventListener("abort", abort);
      socket.close();
    },
  };
}

function toError({ errCode, errMsg, errDlt, retryAfterMs }: Readonly<Record<string, unknown>>): MustreachClientError {
  const facts = { errCode: Number(errCode), errMsg: toText(errMsg), errDlt: toText(errDlt) };
  return new MustreachClientError(facts, typeof retryAfterMs === "number" ? { retryAfterMs } : {});
}
