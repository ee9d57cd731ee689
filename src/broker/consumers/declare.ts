import { AckPolicy } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { Broker } from "../connect.ts";
import { isUnknownConsumer } from "../faults.ts";

/** What a durable consumer is. */
export interface ConsumerSpec {
  readonly stream: string;
  /** The name of the durable consumer. Instances that name the same one share its messages. */
  readonly durable: string;
  readonly description?: string;
  /** The subjects whose messages it delivers, all that are there first. */
  readonly filter: string;
  /** How long an instance may hold a message before another gets it, in milliseconds. Default 60,000. */
  readonly ackWaitMs?: number | undefined;
  /**
   * Messages that may be held or nak'ed at a time, over all instances; beyond it, no newer ones are delivered. Default
   * 1,000. 1 keeps them in order.
   */
  readonly maxAckPending?: number;
  /** Whether the payloads are left out. Default false. */
  readonly headersOnly?: boolean;
}

/**
 * Creates the consumer, or brings it to what is asked. One that is so already is left alone: a broker with a full disk
 * refuses even to be told again what it has, and jobs and watches could not go on there.
 */
export async function declareConsumer(broker: Broker, spec: ConsumerSpec): Promise<void> {
  const { stream, durable } = spec;
  const config = configOf(spec);
  const differences = await consumerDrift(broker, spec);
  if (differences === undefined) await broker.jsm.consumers.add(stream, config);
  else if (differences.length > 0) await broker.jsm.consumers.update(stream, durable, config);
}

/** What of a consumer is not as a start would make it, each setting with both values; undefined when it is not there. */
export async function consumerDrift(broker: Broker, spec: ConsumerSpec): Promise<readonly string[] | undefined> {
  const existing = await broker.jsm.consumers.info(spec.stream, spec.durable).catch((error: unknown) => {
    if (isUnknownConsumer(error)) return undefined;
    throw error;
  });
  if (existing === undefined) return undefined;
  const config = configOf(spec);
  return (Object.keys(config) as (keyof typeof config)[]).flatMap((name) => {
    // The broker leaves out what is false or empty.
    const [is, declared] = [existing.config[name] || false, config[name] || false];
    return is === declared ? [] : [`${name} is ${JSON.stringify(is)}, not ${JSON.stringify(declared)}`];
  });
}

function configOf(spec: ConsumerSpec) {
  const { durable, description = "", filter, ackWaitMs = 60_000, maxAckPending = 1_000, headersOnly = false } = spec;
  return {
    durable_name: durable,
    description,
    filter_subject: filter,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ackWaitMs),
    max_ack_pending: maxAckPending,
    headers_only: headersOnly,
  };
}
