import { setTimeout as delay } from "node:timers/promises";
import { type Deadline, leftUntil } from "../../deadline.ts";
import type { Broker } from "../connect.ts";
import type { ConsumerSpec } from "./declare.ts";

/** How far a durable consumer is to be: everything delivered, or acknowledged as well. */
export type Stage = "delivered" | "done";

/** Pause before a consumer is looked at again, in milliseconds. */
const lookMs = 10;

/** Resolves when durable consumers, one after the other, are so far with all that there is; at `deadline` in any case. */
export async function givenOut(
  { jsm }: Pick<Broker, "jsm">,
  stage: Stage,
  durables: readonly Pick<ConsumerSpec, "stream" | "durable">[],
  deadline: Deadline,
): Promise<void> {
  for (const { stream, durable } of durables) {
    while (leftUntil(deadline) > 0) {
      const { num_pending, num_ack_pending } = await jsm.consumers.info(stream, durable);
      if (num_pending + (stage === "done" ? num_ack_pending : 0) === 0) break;
      await delay(lookMs);
    }
  }
}
