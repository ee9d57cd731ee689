import { isDeepStrictEqual } from "node:util";
import { StorageType, type StreamConfig, type StreamInfo, type StreamState } from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { nanos } from "@nats-io/transport-node";
import type { Broker } from "./connect.ts";
import { toFailure } from "./faults.ts";

/**
 * Creates a stream, or brings an existing one to the declaration; what is not declared of that stays as it is.
 * Resolves to whether it was created.
 */
export async function declareStream(
  broker: Broker,
  config: Partial<StreamConfig> & { name: string },
): Promise<boolean> {
  const existing = await findStream(broker, config.name);
  if (existing === undefined) await broker.jsm.streams.add(config);
  else if (differs(existing.config, config)) await broker.jsm.streams.update(config.name, config);
  return existing === undefined;
}

/** Options of {@link declareBucket}. */
export interface BucketOptions {
  readonly description: string;
  readonly replicas: number;
  /** How long an entry is kept, in milliseconds. */
  readonly ttlMs: number;
  /** Whether an existing bucket that keeps entries longer is left to it. Default false. */
  readonly isNeverLowered?: boolean;
  /** Where each entry is told to whoever listens, when it is stored. Default: nowhere. */
  readonly republish?: { readonly src: string; readonly dest: string };
}

/** Creates a key-value bucket with one value a key, or brings an existing one to the declaration. */
export async function declareBucket(broker: Broker, name: string, options: BucketOptions): Promise<KV> {
  const { description, replicas, ttlMs, isNeverLowered = false, republish } = options;
  const bucket = await new Kvm(broker.js).create(name, {
    description,
    history: 1,
    replicas,
    storage: StorageType.File,
    ttl: ttlMs,
  });
  // For a bucket that is there, the client library only looks that it is.
  const { config } = (await bucket.status()).streamInfo;
  const maxAge = isNeverLowered ? Math.max(config.max_age, nanos(ttlMs)) : nanos(ttlMs);
  const declared = { max_age: maxAge, num_replicas: replicas, ...(republish === undefined ? {} : { republish }) };
  if (differs(config, declared)) await broker.jsm.streams.update(config.name, declared);
  return bucket;
}

/**
 * Creates a reader of streams' states. Those who ask at the same time share an answer: it is dear for the broker.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export function createStreamState(broker: Broker): (stream: string) => Promise<StreamState> {
  const asking = new Map<string, Promise<StreamState>>();
  const ask = async (stream: string): Promise<StreamState> => {
    await broker.whenConnected(Date.now() + 1_000);
    // Who asks from now on gets an answer of its own.
    asking.delete(stream);
    try {
      return (await broker.jsm.streams.info(stream)).state;
    } catch (cause) {
      throw toFailure(cause);
    }
  };
  return (stream) => {
    let answer = asking.get(stream);
    if (answer === undefined) {
      // In a turn of its own, so that all who ask in this one share it.
      answer = Promise.resolve().then(() => ask(stream));
      asking.set(stream, answer);
    }
    return answer;
  };
}

/** Those of some streams that the broker does not have. */
export async function missingStreams(broker: Broker, names: readonly string[]): Promise<string[]> {
  const found = await Promise.all(names.map((name) => findStream(broker, name)));
  return names.filter((_, index) => found[index] === undefined);
}

/** Whether a stream is not as declared. */
export function differs(current: StreamConfig, declared: Partial<StreamConfig>): boolean {
  // The broker leaves out what is false.
  const isOther = (key: keyof StreamConfig) =>
    declared[key] !== undefined && !isDeepStrictEqual(current[key] ?? false, declared[key]);
  return (
    [
      "num_replicas",
      "discard",
      "discard_new_per_subject",
      "max_msgs_per_subject",
      "max_age",
      "max_bytes",
      "duplicate_window",
      "allow_atomic",
      "allow_msg_ttl",
      "allow_direct",
      "subjects",
      "republish",
      "allow_msg_schedules",
    ] as const
  ).some(isOther);
}

/** A stream; undefined when the broker does not have it. */
export async function findStream(broker: Broker, name: string): Promise<StreamInfo | undefined> {
  try {
    return await broker.jsm.streams.info(name);
  } catch (error) {
    if (error instanceof Error && error.name === "StreamNotFoundError") return undefined;
    throw error;
  }
}
