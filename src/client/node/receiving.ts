import { setImmediate } from "node:timers/promises";
import { debuglog } from "node:util";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import type { CreateReceiving } from "../wire/delivery.ts";
import { MustreachClientError, networkErrCode } from "../wire/error.ts";
import { withDeadline } from "../wire/wait.ts";
import { openReceiveStream, type ReceiveStream } from "./receive-stream.ts";

/** How long Receive may take to begin, in milliseconds: a proxy that keeps back what a device says lets nothing begin. */
const beginMs = 3_000;

/** How long Subscribe and Ack are used where Receive could not begin, before it is tried again, in milliseconds. */
const retryMs = 600_000;

/** `NODE_DEBUG=mustreach` prints it. */
const debug = debuglog("mustreach");

/** The service by Receive over HTTP/2, where it and all that is in between can do that; else by Subscribe and Ack. */
export const createReceiving: CreateReceiving | undefined = (baseUrl, other) => {
  let session: ReceiveStream | undefined;
  let retryAt = 0;
  let isTold = false;

  function giveUp(problem: unknown) {
    // One that could not connect may have come a moment too early.
    if (ConnectError.from(problem).code !== Code.Unavailable) retryAt = Date.now() + retryMs;
    if (isTold) return;
    isTold = true;
    debug("%s: by Subscribe and Ack, since Receive cannot begin: %s", baseUrl, problem);
  }

  return {
    async *subscribe(request, options = {}) {
      const { signal } = options;
      let problem: unknown;
      if (Date.now() >= retryAt) {
        const stream = openReceiveStream(baseUrl, request, options);
        let hasBegun = false;
        try {
          for (;;) {
            const { done, value } = hasBegun ? await stream.next() : await withDeadline(beginMs, signal, stream.next);
            if (done === true && hasBegun) return;
            if (done === true) throw new Error("the stream ended at once");
            hasBegun = true;
            session = stream;
            yield value;
          }
        } catch (thrown) {
          if (signal?.aborted === true || isOfService(thrown)) throw thrown;
          if (hasBegun) throw toNetworkError(thrown);
          problem = thrown;
        } finally {
          if (session === stream) session = undefined;
          stream.close();
        }
      }
      for await (const event of other.subscribe(request, options)) {
        // It is not the network, nor the service.
        if (problem !== undefined) giveUp(problem);
        problem = undefined;
        yield event;
      }
    },
    ack: other.ack,
    acknowledge(cursor) {
      session?.acknowledge(cursor);
      return session !== undefined;
    },
    pause() {
      session?.pause();
    },
    turn: () => setImmediate(),
  };
};

function isOfService(thrown: unknown): boolean {
  return thrown instanceof ConnectError && thrown.findDetails(ErrorInfoSchema).length > 0;
}

/** A stream that had begun, and was broken by what is in between. */
function toNetworkError(thrown: unknown): MustreachClientError {
  const errDlt = ConnectError.from(thrown).rawMessage;
  return new MustreachClientError({ errCode: networkErrCode, errMsg: "NetworkError", errDlt }, { cause: thrown });
}
