import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig, type StreamInfo } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { deadlineIn, leftUntil } from "../deadline.ts";
import type { Broker } from "./connect.ts";
import { judge } from "./faults.ts";
import { sayWaiting } from "./waiting-lines.ts";

/** What a stream is. Each holds one message a subject, can be read by subject, and takes atomic batches. */
export interface StreamSpec {
  readonly name: string;
  /** For those who look into the broker. */
  readonly description: string;
  readonly subjects: readonly string[];
  /** Whether messages are jobs, each removed when it is done. Default false. */
  readonly isQueue?: boolean;
  /** Whether a full stream refuses. Default false: the oldest messages make room. */
  readonly refusesWhenFull?: boolean;
  /** As `refusesWhenFull`, and a second message of a subject is refused too. Default false: it replaces the first. */
  readonly isWriteOnce?: boolean;
  /** Whether a message may wait for a time that it names; excludes refusing (ADR-51). Default false. */
  readonly hasSchedules?: boolean;
  /** Whether a message may say how long it is kept. Default false. */
  readonly hasTtls?: boolean;
  /** Whether the broker forgets it when it is restarted. Default false: it is in files. */
  readonly isInMemory?: boolean;
  /** How long a message is kept, in milliseconds. Default: for ever. */
  readonly maxAgeMs?: number;
  /** Whether a stream that keeps messages longer is left to it. Default false. */
  readonly isNeverShortened?: boolean;
  /** Space, in bytes. Default: that of the account. */
  readonly maxBytes?: number;
  /** How long the names of messages are known, in milliseconds: a second one of a name is not stored. Default 120,000. */
  readonly namesKnownMs?: number;
  /** Where what is stored is told to whoever listens. Default: nowhere. */
  readonly republish?: { readonly src: string; readonly dest: string; readonly headersOnly?: boolean };
  /** A setting with which the stream is created, and which it keeps: what is stored depends on it. Default: none. */
  readonly fixed?: { readonly name: string; readonly value: number };
}

/** A cluster that takes no streams, as while it is being started, is asked again after this long, in milliseconds. */
const formingMs = 500;

/**
 * Creates streams, one after the other, or brings existing ones to their specs; what a spec does not say stays as it
 * is. One that is as declared is left alone: a broker with a full disk may refuse to be told again what it has.
 * A cluster that cannot take them yet is waited for, as a broker that is not there is. Resolves to whether any was created.
 *
 * @param onWaiting told why it is waited for, at once and every ten seconds.
 * @param waitMs for how long, in milliseconds. Default: for ever.
 * @throws for one that was created with another value of its `fixed` setting; those after it are left alone. What the
 * client library throws, when it was waited for long enough.
 */
export async function declare(
  broker: Broker,
  specs: readonly StreamSpec[],
  replicas: number,
  onWaiting: (err: unknown) => void = () => {},
  waitMs = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  const deadline = deadlineIn(waitMs);
  let isAnyNew = false;
  const say = sayWaiting(onWaiting);
  for (const spec of specs) {
    for (;;) {
      try {
        isAnyNew = (await declareOne(broker, spec, replicas)) || isAnyNew;
        break;
      } catch (err) {
        // As it is: what the operator reads is not for callers.
        if (judge(err).kind !== "retry" || leftUntil(deadline) < formingMs) throw err;
        say(err);
        await delay(formingMs);
      }
    }
  }
  return isAnyNew;
}

/** Resolves to whether the stream was created. */
async function declareOne(broker: Broker, spec: StreamSpec, replicas: number): Promise<boolean> {
  const { streams } = broker.jsm;
  const existing = await findStream(broker, spec.name);
  if (existing === undefined) {
    await streams.add({ ...createdWith(spec), ...configOf(spec, replicas) });
    return true;
  }
  requireFixed(existing.config, spec);
  const config = configOf(spec, replicas, existing.config);
  if (!differs(existing.config, config)) return false;
  await streams.update(spec.name, config).catch(async (error: unknown) => {
    // With a full disk the broker cannot write the change down, and says so. It is in force until the next restart.
    const current = await findStream(broker, spec.name);
    if (current === undefined || differs(current.config, config)) throw error;
  });
  return false;
}

/** What is wrong with streams, in sentences. */
export async function streamProblems(
  broker: Broker,
  specs: readonly StreamSpec[],
  replicas: number,
): Promise<readonly string[]> {
  const { missing, changed } = await streamDrift(broker, specs, replicas);
  return [
    ...(missing.length > 0 ? [`streams are missing: ${missing.join(", ")}`] : []),
    ...changed.map(({ name }) => `${name} is not as declared`),
  ];
}

/** Which streams are not there, and which have settings other than a start would give them: those, each with both values. */
export async function streamDrift(broker: Broker, specs: readonly StreamSpec[], replicas: number) {
  const found = await Promise.all(specs.map(async (spec) => ({ spec, info: await findStream(broker, spec.name) })));
  const missing: string[] = [];
  const changed: { readonly name: string; readonly differences: readonly string[] }[] = [];
  for (const { spec, info } of found) {
    if (info === undefined) {
      missing.push(spec.name);
      continue;
    }
    const differences = differencesOf(info.config, configOf(spec, replicas, info.config));
    if (differences.length > 0) changed.push({ name: spec.name, differences });
  }
  return { missing, changed };
}

/** What a stream is created with and can never change. */
function createdWith({ isQueue, isInMemory, fixed }: StreamSpec): Partial<StreamConfig> {
  return {
    retention: isQueue ? RetentionPolicy.Workqueue : RetentionPolicy.Limits,
    storage: isInMemory ? StorageType.Memory : StorageType.File,
    ...(fixed && { metadata: { [metadataKey(fixed.name)]: String(fixed.value) } }),
  };
}

function configOf(
  spec: StreamSpec,
  replicas: number,
  current?: StreamConfig,
): Partial<StreamConfig> & { name: string } {
  const { name, description, isWriteOnce = false, maxAgeMs, maxBytes, namesKnownMs = 120_000, republish } = spec;
  const declaredAge = nanos(maxAgeMs ?? 0);
  const maxAge = spec.isNeverShortened ? Math.max(declaredAge, current?.max_age ?? 0) : declaredAge;
  return {
    name,
    description,
    subjects: [...spec.subjects],
    num_replicas: replicas,
    max_msgs_per_subject: 1,
    allow_direct: true,
    allow_atomic: true,
    discard: isWriteOnce || spec.refusesWhenFull ? DiscardPolicy.New : DiscardPolicy.Old,
    discard_new_per_subject: isWriteOnce,
    // JetStream refuses a longer window than a message is kept.
    duplicate_window: nanos(Math.min(maxAgeMs ?? namesKnownMs, namesKnownMs)),
    ...(maxAgeMs !== undefined && { max_age: maxAge }),
    ...(maxBytes !== undefined && { max_bytes: maxBytes }),
    // Both are for ever: the broker refuses to turn them off.
    ...(spec.hasTtls && { allow_msg_ttl: true }),
    ...(spec.hasSchedules && { allow_msg_schedules: true }),
    // By this, NATS knows a bucket.
    ...(name.startsWith("KV_") && { allow_rollup_hdrs: true }),
    ...(republish && {
      republish: { src: republish.src, dest: republish.dest, ...(republish.headersOnly && { headers_only: true }) },
    }),
  };
}

/** Whether a stream was created with {@link StreamSpec.isInMemory}. */
export function isInMemory({ storage }: Pick<StreamConfig, "storage">): boolean {
  return storage === StorageType.Memory;
}

function differs(current: StreamConfig, declared: Partial<StreamConfig>): boolean {
  return differencesOf(current, declared).length > 0;
}

function differencesOf(current: StreamConfig, { description, ...compared }: Partial<StreamConfig>): string[] {
  return Object.entries(compared).flatMap(([key, value]) => {
    // The broker leaves out what is false.
    const is = current[key as keyof StreamConfig] ?? false;
    return isDeepStrictEqual(is, value) ? [] : [`${key} is ${JSON.stringify(is)}, not ${JSON.stringify(value)}`];
  });
}

function requireFixed({ name, metadata }: StreamConfig, { fixed }: StreamSpec): void {
  if (fixed === undefined) return;
  const created = metadata?.[metadataKey(fixed.name)];
  if (created === String(fixed.value)) return;
  throw new Error(
    `The broker's ${name} was created with ${fixed.name}=${created ?? "unknown"}, not ${fixed.value}. ` +
      "The number is fixed when the streams are created: set it back, or start with an empty broker.",
  );
}

function metadataKey(setting: string): string {
  return setting.toLowerCase();
}

/** A stream; undefined when the broker does not have it. */
async function findStream(broker: Broker, name: string): Promise<StreamInfo | undefined> {
  try {
    return await broker.jsm.streams.info(name);
  } catch (error) {
    if (error instanceof Error && error.name === "StreamNotFoundError") return undefined;
    throw error;
  }
}
