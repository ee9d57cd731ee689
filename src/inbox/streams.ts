import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { Broker } from "../broker/connect.ts";
import { declareStream, differs, findStream } from "../broker/streams.ts";
import { hintRepublish, inboxStream, inboxStreamSubjects } from "./layout.ts";

/** Options of {@link declareStreams}. */
export interface StreamOptions {
  readonly partitions: number;
  readonly replicas: number;
  /** How long a notification is kept, in milliseconds. */
  readonly retentionMs: number;
  /** Space over all partitions, in bytes. */
  readonly maxStoreBytes: number;
}

/** The name of the metadata entry that fixes the number of partitions. */
const partitionsKey = "mustreach_partitions";

/** A stream that is there but cannot be used as it is. */
export class StreamMismatchError extends Error {
  override name = "StreamMismatchError";
}

/**
 * Creates the inbox streams, or brings existing ones to the declared retention, size and replicas. Resolves to whether
 * any was created: sequences then begin anew, and cursors from before mean nothing.
 *
 * @throws {StreamMismatchError} when the streams were created with another number of partitions: users' inboxes would
 * be looked for in the wrong stream.
 */
export async function declareStreams(broker: Broker, options: StreamOptions): Promise<boolean> {
  let created = false;
  for (let partition = 0; partition < options.partitions; partition++) {
    const config = inboxStreamConfig(partition, options);
    const existing = await findStream(broker, config.name);
    const partitions = existing?.config.metadata?.[partitionsKey];
    if (existing !== undefined && partitions !== String(options.partitions)) {
      throw new StreamMismatchError(
        `The broker's inboxes were created with MUSTREACH_PARTITIONS=${partitions ?? "unknown"}, not ${options.partitions}. ` +
          "The number is fixed when the streams are created: set it back, or start with an empty broker.",
      );
    }
    created = (await declareStream(broker, config)) || created;
  }
  return created;
}

/** What is wrong with the inbox streams, in sentences. */
export async function streamProblems(broker: Broker, options: StreamOptions): Promise<string[]> {
  const problems = await Promise.all(
    Array.from({ length: options.partitions }, async (_, partition) => {
      const config = inboxStreamConfig(partition, options);
      const existing = await findStream(broker, config.name);
      return existing !== undefined && differs(existing.config, config)
        ? `${config.name} is not as declared`
        : undefined;
    }),
  );
  return problems.filter((problem) => problem !== undefined);
}

function inboxStreamConfig(partition: number, options: StreamOptions): Partial<StreamConfig> & { name: string } {
  const maxAge = nanos(options.retentionMs);
  return {
    name: inboxStream(partition),
    description: "must-reach notifications by user, and the client message ids used",
    metadata: { [partitionsKey]: String(options.partitions) },
    subjects: inboxStreamSubjects(partition),
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    num_replicas: options.replicas,
    max_age: maxAge,
    max_bytes: Math.floor(options.maxStoreBytes / options.partitions),
    // One subject is one notification or one claim: a second write of it is refused for as long as the first is
    // kept, and a full stream refuses rather than evicts.
    max_msgs_per_subject: 1,
    discard: DiscardPolicy.New,
    discard_new_per_subject: true,
    // Not used (ids are in subjects), but JetStream refuses a window longer than max_age.
    duplicate_window: Math.min(maxAge, nanos(120_000)),
    allow_direct: true,
    allow_msg_ttl: true,
    allow_atomic: true,
    republish: { ...hintRepublish(partition), headers_only: true },
  };
}
