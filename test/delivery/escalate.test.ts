import { describe, expect, test, vi } from "vitest";
import type { ReachEntry } from "../../src/nats/reach.ts";
import { useBroker } from "../helpers/broker.ts";
import { type TestInstance, useInstances, useReceivers } from "../helpers/escalation.ts";

const server = useBroker();
const openInstance = useInstances(server);
const openReceiver = useReceivers();
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 15_000, interval: 10 });

/** Stores a notification and puts it into the queue, as `reach` does. */
async function escalate(
  { send, escalations, inbox }: TestInstance,
  userId: string,
  data = `for ${userId}`,
  options: { expiresAtMs?: number } = {},
) {
  const sequence = await send(userId, data, options);
  const partition = [0, 1].find((p) => p === partitionOf(userId)) ?? 0;
  const unreached = { partition, sequence, userId, storedAtMs: Date.now(), expiresAtMs: options.expiresAtMs };
  expect(await escalations.escalate(unreached)).toBe("queued");
  expect((await inbox.read(userId, { after: 0, limit: 10 })).entries.at(-1)?.sequence).toBe(sequence);
  return { ...unreached, sequence };
}
