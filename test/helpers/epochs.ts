import { pino } from "pino";
import type { Broker } from "../../src/broker/connect.ts";
import { createEpochs, type Epochs } from "../../src/inbox/epochs.ts";

/** The epochs of a broker that a test has one connection to. */
export function openEpochs(broker: Broker, partitions = 1, retentionMs = 86_400_000): Epochs {
  return createEpochs({ reads: broker, writes: broker, partitions, retentionMs, log: pino({ level: "silent" }) });
}
