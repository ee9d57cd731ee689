import { setTimeout as delay } from "node:timers/promises";
import type { Broker } from "./broker/connect.ts";
import type { StreamBound } from "./broker/inspection/require-room.ts";
import { atMostEvery } from "./observe/at-most-every.ts";
import type { Metrics } from "./observe/metrics.ts";

export interface BrokerMetricsOptions {
  readonly broker: Broker;
  /** The streams to tell of. */
  readonly streams: readonly string[];
  /** What of them we bound, and the broker does not. */
  readonly bounds: readonly StreamBound[];
  /** The streams that are watched by a durable consumer. */
  readonly watched: readonly { readonly stream: string; readonly consumer: string }[];
}

/** How long an answer of the broker is given again, in milliseconds. */
const keptMs = 5_000;

/** How long the broker is waited for, in milliseconds; then what it did not say is left out. */
const timeoutMs = 1_000;

/** What the broker says of itself; of an instance, one process asks. */
interface BrokerState {
  readonly rttSeconds: number | undefined;
  /** By stream. */
  readonly bytes: Readonly<Record<string, number>>;
  readonly maxBytes: Readonly<Record<string, number>>;
  readonly messages: Readonly<Record<string, number>>;
  readonly maxMessages: Readonly<Record<string, number>>;
  readonly unsettled: number | undefined;
}

const unknown: BrokerState = {
  rttSeconds: undefined,
  bytes: {},
  maxBytes: {},
  messages: {},
  maxMessages: {},
  unsettled: undefined,
};

/** Has the metrics tell of the broker: how far away it is, how full, how much is still to reach. */
export function watchBroker({ watch }: Pick<Metrics, "watch">, options: BrokerMetricsOptions): void {
  const { broker } = options;
  const read = atMostEvery(keptMs, async () => {
    if (!broker.isConnected()) return unknown;
    const given = new AbortController();
    const late = delay(timeoutMs, unknown, { signal: given.signal, ref: false });
    late.catch(() => {});
    return Promise.race([readState(options).catch(() => unknown), late]).finally(() => given.abort());
  });
  const label = { label: "stream" };
  watch(
    "mustreach_broker_rtt_seconds",
    "Time of a ping to the broker and back.",
    async () => (await read()).rttSeconds ?? {},
  );
  watch("mustreach_broker_stream_bytes", "What is stored, by `stream`.", async () => (await read()).bytes, label);
  watch(
    "mustreach_broker_stream_max_bytes",
    "Where the stream is full, by `stream`; without those that have no limit.",
    async () => (await read()).maxBytes,
    label,
  );
  watch(
    "mustreach_broker_stream_messages",
    "Messages stored, by `stream`.",
    async () => (await read()).messages,
    label,
  );
  watch(
    "mustreach_broker_stream_max_messages",
    "With how many messages the stream is full, by `stream`; without those that have no such limit.",
    async () => (await read()).maxMessages,
    label,
  );
  watch(
    "mustreach_reach_pending",
    "Stored entries that the durable watch has not settled: not looked at yet, or not reached at the last look.",
    async () => (await read()).unsettled ?? {},
  );
}

async function readState({ broker, streams, bounds, watched }: BrokerMetricsOptions): Promise<BrokerState> {
  const startedMs = performance.now();
  await broker.nc.flush();
  const rttSeconds = (performance.now() - startedMs) / 1_000;
  const { consumers } = broker.jsm;
  const [infos, settled] = await Promise.all([
    Promise.all(streams.map((stream) => broker.jsm.streams.info(stream))),
    Promise.all(watched.map(({ stream, consumer }) => consumers.info(stream, consumer))),
  ]);
  const boundOf = (name: string) => bounds.find(({ stream }) => stream === name);
  // The broker has -1 for a limit that is not set.
  const byName = (read: (info: (typeof infos)[number]) => number) =>
    Object.fromEntries(infos.map((info) => [info.config.name, read(info)] as const).filter(([, value]) => value >= 0));
  return {
    rttSeconds,
    bytes: byName(({ state }) => state.bytes),
    maxBytes: byName(({ config }) => boundOf(config.name)?.maxBytes ?? config.max_bytes),
    messages: byName(({ state }) => state.messages),
    maxMessages: byName(({ config }) => boundOf(config.name)?.maxMessages ?? config.max_msgs),
    unsettled: settled.reduce((sum, { num_pending, num_ack_pending }) => sum + num_pending + num_ack_pending, 0),
  };
}
