import type { CreateCallsOver, CreateReceiving } from "../wire/delivery.ts";
import { MustreachClientError, networkErrCode, toClientError } from "../wire/error.ts";
import { createStreamReceiving } from "../wire/stream-receiving.ts";
import { openSocketStream } from "./socket-stream.ts";

export { createFetchCalls as createCalls } from "./fetch-calls.ts";

/** Connect is loaded with the first call: a page that gives no transport does without it. */
export const createCallsOver: CreateCallsOver = (transport) => {
  let loading: ReturnType<CreateCallsOver> | undefined;
  const load = async () => {
    const { createConnectCalls } = await import("../connect/calls.ts");
    loading ??= createConnectCalls(transport);
    return loading;
  };
  return {
    async *subscribe(request, options) {
      yield* (await load()).subscribe(request, options);
    },
    ack: async (request, options) => (await load()).ack(request, options),
    send: async (request, options) => (await load()).send(request, options),
  };
};

/** The service by a WebSocket, where it and all that is in between can do that; else by Subscribe and Ack over fetch. */
export const createReceiving: CreateReceiving = (baseUrl, other) =>
  createStreamReceiving({
    open: (request, options) => openSocketStream(baseUrl, request, options),
    isOfService: (thrown) => thrown instanceof MustreachClientError && thrown.errCode !== networkErrCode,
    // A browser does not tell why a WebSocket was refused, so the next session tries again: only waiting for one that
    // hangs would take its time.
    isUnreachable: (thrown) => !(thrown instanceof DOMException && thrown.name === "TimeoutError"),
    toError: toClientError,
    toBroken: toClientError,
    turn: endOfTurn,
    debug(problem) {
      // biome-ignore lint/suspicious/noConsole: once, where the developers of a page look, at the level of debugging
      console.debug(`mustreach: ${baseUrl}: no WebSocket, so by fetch: ${toClientError(problem).errDlt}`);
    },
    other,
  });

/** Unlike a timer's, its task is not put off in a page that is hidden. */
function endOfTurn(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
