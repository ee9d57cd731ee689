import { setTimeout as delay } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { fromConnectError } from "../client/connect/error.ts";
import { type MustreachClientError, networkErrCode } from "../client/wire/error.ts";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import type { Call } from "./check/history.ts";
import type { ReceiveDoor } from "./doors/receive-doors.ts";
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
  /**
   * The fields of `SendBusinessNotificationRequest`, by their names in JavaScript, that an older version among its instances
   * does not know: it would not do what they say, so that no send has them.
   */
  readonly lacking: ReadonlySet<string>;
  readonly adminToken: string;
  /** A token of a user, of {@link devicePlatform}. */
  userToken(userId: string): Promise<string>;
  /** Where the broker can be reached: a consumer of its own for a user. */
  readonly native?: (userId: string) => ReceiveDoor;
  /** When its instances ended by themselves, or did not when they were asked to, as far as we can see. */
  ownFaults(): readonly string[];
  stop(): Promise<void>;
}

/** The platform of devices: OpenIM's Web. */
export const devicePlatform = 5;

/** A call gets this long, in milliseconds; a service answers sooner, if it does. */
const callTimeoutMs = 10_000;

/** An instance that is up, if one is; now and then any, as a caller that does not know yet. */
export function pickInstance({ instances }: Deployment, random: Random): Instance {
  const up = instances.filter((instance) => instance.isUp());
  return random.pick(up.length === 0 || random.chance(0.1) ? instances : up);
}

/** Makes a call, and tells how it came out. It is among the `calls` from its beginning on, as one that is not known. */
export type Caller = (by: string, calls: Call[], work: (signal: AbortSignal) => Promise<string>) => Promise<Call>;

/** Creates a caller; `now` is the clock of the history. It rejects when it is asked for a call after `over` was aborted. */
export function createCaller(now: () => number, over: AbortSignal): Caller {
  return async (by, calls, work) => {
    over.throwIfAborted();
    const begun: Call = { by, startedAt: now(), endedAt: Number.POSITIVE_INFINITY, outcome: "unknown", ...unanswered };
    const index = calls.push(begun) - 1;
    const end = (how: Pick<Call, "outcome" | "errCode" | "serverMsgId">) => {
      const ended = { ...begun, endedAt: now(), ...how };
      calls[index] = ended;
      return ended;
    };
    try {
      const serverMsgId = await work(AbortSignal.timeout(callTimeoutMs));
      return end({ outcome: "accepted", errCode: 0, serverMsgId });
    } catch (thrown) {
      const error = fromConnectError(thrown);
      const errCode = isAnswer(error) ? error.errCode : networkErrCode;
      return end({ outcome: outcomeOf(errCode), errCode, serverMsgId: "" });
    }
  };
}

const unanswered = { errCode: networkErrCode, serverMsgId: "" } as const;

/**
 * What is not refused for good is sent again: for want of an answer, of room, of an instance that goes on; or refused by
 * one whose clock is behind, to which the token is not valid yet (1504).
 */
const passing: ReadonlySet<number> = new Set([429, 500, 1504, 1601, networkErrCode, 90_101, 90_103, 90_104]);

/** How a call came out that was answered with an error. */
export function outcomeOf(errCode: number): Call["outcome"] {
  return passing.has(errCode) ? "unknown" : "refused";
}

/** Whether the service itself said it. A stream that is cut off is "internal" to Connect, and nobody's answer. */
function isAnswer({ cause }: MustreachClientError): boolean {
  return !(cause instanceof ConnectError) || cause.findDetails(ErrorInfoSchema).length > 0;
}

/** Makes a call until it is answered; undefined when it was not in so many tries. */
export async function untilAnswered(
  random: Random,
  tries: number,
  attempt: () => Promise<Call>,
): Promise<Call | undefined> {
  for (let tried = 0; tried < tries; tried++) {
    const call = await attempt();
    if (call.outcome !== "unknown") return call;
    await delay(random.between(20, 300));
  }
  return undefined;
}
