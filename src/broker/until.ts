import { setTimeout as delay } from "node:timers/promises";
import { type Deadline, leftUntil } from "../deadline.ts";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { judge } from "./faults.ts";

/** The answer of an attempt that found something in its way, such as another writer: it is made again. */
export const again = Symbol("again");

/** The longest pause before the next attempt, in milliseconds: a part of it, so that two do not meet again. */
const maxPauseMs = { overtaken: 20, failed: 50 } as const;

/**
 * The one retry policy towards the broker: makes attempts until one has an answer. Only {@link again}, timeouts,
 * disconnects and "no responders" lead to another; what the broker refuses for good ends it at once, and so does a
 * mistake of ours. An attempt must be idempotent.
 *
 * @param onFailed told why an attempt is made again. Default: nobody is.
 * @throws NetworkError (90004) when there is none at `deadline`; what the attempt throws, as
 * {@link judge} has it.
 */
export async function until<T>(
  deadline: Deadline,
  attempt: () => Promise<T | typeof again>,
  onFailed?: (err: unknown) => void,
): Promise<T> {
  for (;;) {
    let pauseMs: number = maxPauseMs.overtaken;
    let cause: unknown;
    try {
      const answer = await attempt();
      if (answer !== again) return answer;
    } catch (error) {
      const fault = judge(error);
      if (fault.kind === "unknown") throw error;
      if (fault.kind === "permanent") throw fault.failure;
      onFailed?.(error);
      pauseMs = maxPauseMs.failed;
      cause = error;
    }
    if (leftUntil(deadline) <= pauseMs) throw notInTime(cause);
    await delay(Math.random() * pauseMs);
  }
}

/**
 * As {@link until}, for questions to the broker: they are asked while there is a connection, and again as soon as there
 * is one when it was lost before the answer.
 */
export function untilAnswered<T>(
  broker: Pick<Broker, "whenConnected" | "onDisconnect">,
  deadline: Deadline,
  attempt: () => Promise<T | typeof again>,
  onFailed?: (err: unknown) => void,
): Promise<T> {
  const connected = async () => {
    await broker.whenConnected(deadline);
    return whileConnected(broker, deadline, attempt);
  };
  return until(deadline, connected, onFailed);
}

/** The answer to an attempt; `again` when the connection is lost before, for then it will not come. */
function whileConnected<T>(
  broker: Pick<Broker, "onDisconnect">,
  deadline: Deadline,
  attempt: () => Promise<T | typeof again>,
): Promise<T | typeof again> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(notInTime()), Math.max(0, leftUntil(deadline)));
    const forget = broker.onDisconnect(() => resolve(again));
    const end = () => {
      clearTimeout(timer);
      forget();
    };
    // Every write comes through here: no promise more than it takes.
    attempt().then(
      (answer) => {
        end();
        resolve(answer);
      },
      (error: unknown) => {
        end();
        reject(error);
      },
    );
  });
}

function notInTime(cause?: unknown) {
  return failure("NetworkError", "the broker did not answer in time", cause);
}
