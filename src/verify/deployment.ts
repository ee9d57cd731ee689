import { setTimeout as delay } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { fromConnectError } from "../client/connect/error.ts";
import { type MustreachClientError, networkErrCode } from "../client/wire/error.ts";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import type { Call } from "./check/history.ts";
import type { Random } from "./random.ts";

/** An instance of the service, as callers and devices see it. */
export interface Instance {
  readonly name: string;
  readonly url: string;
  /** Whether it is meant to answer now. */
  isUp(): boolean;
}

/** Something that happens to a deployment. */
export interface Fault {
  readonly name: string;
  /** What it breaks, by any names: faults that hit the same do not happen at the same time. */
  readonly hits: readonly string[];
  /** Lets it happen, and resolves when it is over and everything is meant to work again. */
  happen(random: Random): Promise<void>;
}

/** What is verified. */
export interface Deployment {
  readonly instances: readonly Instance[];
  /** What can happen to it: nothing, to one that is not ours. */
  readonly faults: readonly Fault[];
  readonly adminToken: string;
  userToken(userId: string): Promise<string>;
  /** What its instances have logged as errors, as far as we can see. */
  errors(): readonly string[];
  stop(): Promise<void>;
}

/** A call gets this long, in milliseconds; a service answers sooner, if it does. */
const callTimeoutMs = 10_000;

/** An instance that is up, if one is; now and then any, as a caller that does not know yet. */
export function pickInstance({ instances }: Deployment, random: Random): Instance {
  const up = instances.filter((instance) => instance.isUp());
  return random.pick(up.length === 0 || random.chance(0.1) ? instances : up);
}

/** Makes calls, and tells how each came out. */
export type Caller = (by: string, work: (signal: AbortSignal) => Promise<string>) => Promise<Call>;

/** Creates a caller; `now` is the clock of the history. It rejects when it is asked for a call after `over` was aborted. */
export function createCaller(now: () => number, over: AbortSignal): Caller {
  return async (by, work) => {
    over.throwIfAborted();
    const startedAt = now();
    try {
      const serverMsgId = await work(AbortSignal.timeout(callTimeoutMs));
      return { by, startedAt, endedAt: now(), outcome: "accepted", errCode: 0, serverMsgId };
    } catch (thrown) {
      const error = fromConnectError(thrown);
      const errCode = isAnswer(error) ? error.errCode : networkErrCode;
      const outcome = errCode === networkErrCode || errCode === 500 ? "unknown" : "refused";
      return { by, startedAt, endedAt: now(), outcome, errCode, serverMsgId: "" };
    }
  };
}

/** Whether the service itself said it. A stream that is cut off is "internal" to Connect, and nobody's answer. */
function isAnswer({ cause }: MustreachClientError): boolean {
  return !(cause instanceof ConnectError) || cause.findDetails(ErrorInfoSchema).length > 0;
}

/** What a token is refused with by an instance whose clock is behind: the same token is good when that is right again. */
const tokenNotValidYet = 1504;

/** Makes a call until it is answered; undefined when it was not in so many tries. */
export async function untilAnswered(
  random: Random,
  tries: number,
  attempt: () => Promise<Call>,
): Promise<Call | undefined> {
  for (let tried = 0; tried < tries; tried++) {
    const call = await attempt();
    if (call.outcome !== "unknown" && call.errCode !== tokenNotValidYet) return call;
    await delay(random.between(20, 300));
  }
  return undefined;
}
