import { JetStreamApiError, StorageType, type StreamConfig } from "@nats-io/jetstream";
import type { Broker } from "./connect.ts";

/** JSStreamNameExistErr: there is one with another configuration. */
const streamExists = 10058;

/**
 * Creates a stream that holds one message a subject and can be read by place, or brings an existing one up to date.
 *
 * @throws when the broker refuses the stream or does not answer.
 */
export async function declareQueue(
  broker: Broker,
  config: Partial<StreamConfig> & { readonly name: string },
): Promise<void> {
  const complete = {
    storage: StorageType.File,
    max_msgs_per_subject: 1,
    allow_direct: true,
    allow_atomic: true,
    ...config,
  };
  try {
    await broker.jsm.streams.add(complete);
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === streamExists)) throw error;
    await broker.jsm.streams.update(complete.name, complete);
  }
}
