import { isDeepStrictEqual } from "node:util";
import type { ConsumerConfig, ConsumerInfo } from "@nats-io/jetstream";
import type { Broker } from "./connect.ts";

/**
 * Creates a durable consumer, or brings an existing one to the declaration. One that is as declared is left alone: a
 * broker with a full disk refuses even to be told again what it has, and jobs and watches could not go on there.
 *
 * @throws when the broker refuses the consumer or does not answer.
 */
export async function declareConsumer(
  broker: Broker,
  stream: string,
  config: Partial<ConsumerConfig> & { readonly durable_name: string },
): Promise<void> {
  const { consumers } = broker.jsm;
  const existing = await findConsumer(broker, stream, config.durable_name);
  if (existing === undefined) await consumers.add(stream, config);
  else if (differs(existing.config, config)) await consumers.update(stream, config.durable_name, config);
}

async function findConsumer(broker: Broker, stream: string, name: string): Promise<ConsumerInfo | undefined> {
  try {
    return await broker.jsm.consumers.info(stream, name);
  } catch (error) {
    if (error instanceof Error && error.name === "ConsumerNotFoundError") return undefined;
    throw error;
  }
}

function differs(current: ConsumerConfig, declared: Partial<ConsumerConfig>): boolean {
  const names = Object.keys(declared) as (keyof ConsumerConfig)[];
  // The broker leaves out what is false or empty.
  return names.some((name) => declared[name] && !isDeepStrictEqual(current[name], declared[name]));
}
