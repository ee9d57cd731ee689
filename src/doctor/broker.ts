import { auditBroker, BrokerUnfitError, natsServerFloor } from "../broker/audit.ts";
import type { Broker } from "../broker/connect.ts";
import { consumerDrift } from "../broker/consumers/declare.ts";
import { streamDrift } from "../broker/declare.ts";
import { readAccount, readStreams, type StreamRoom, type Use } from "../broker/inspection/room.ts";
import type { Config } from "../config.ts";
import { maxOverheadBytes } from "../limits.ts";
import { storeConsumers, storeSpecs } from "../store.ts";
import { storeBounds } from "../store-bounds.ts";
import { type Finding, judgeClock, judgeRoom, makeRoom, ok, problem, tooManyMessages, warning } from "./finding.ts";

/**
 * Looks at a broker: what it is, whether streams and consumers are as this version declares them, and how near its
 * limits are.
 */
export async function inspectBroker(broker: Broker, config: Config): Promise<Finding[]> {
  const askedMs = Date.now();
  const { streams, timesMs } = await readStreams(
    broker,
    storeSpecs(config).map(({ name }) => name),
  );
  const [timeMs] = timesMs;
  return [
    ...(timeMs === undefined ? [] : [judgeClock("broker's clock", timeMs, askedMs, Date.now())]),
    ...(await inspectServer(broker, config)),
    ...(await inspectStreams(broker, config)),
    ...(await inspectConsumers(broker, config)),
    ...streams.flatMap(judgeStream),
    ...streams.flatMap((stream) => judgeBound(stream, config)),
    ...(await inspectAccount(broker)),
  ];
}

async function inspectServer(broker: Broker, config: Config): Promise<Finding[]> {
  try {
    const { version, durability, warnings, maxPayloadBytes } = await auditBroker(broker, config.replicas);
    const needed = config.maxDataBytes + maxOverheadBytes;
    const payload = `max_payload is ${maxPayloadBytes}, ${needed} are needed`;
    const todo = `Set max_payload to at least ${needed}, or a smaller MUSTREACH_MAX_DATA_BYTES.`;
    return [
      ok("broker", `nats-server ${version}`),
      ...(warnings.length === 0 ? [ok("durability", durability)] : []),
      ...warnings.map((text) => warning("durability", text, "See docs/operating.md, section The broker.")),
      maxPayloadBytes < needed ? problem("message size", payload, todo) : ok("message size", payload),
    ];
  } catch (error) {
    if (!(error instanceof BrokerUnfitError)) throw error;
    return [problem("broker", error.message, `Upgrade it to ${natsServerFloor} or later.`)];
  }
}

async function inspectStreams(broker: Broker, config: Config): Promise<Finding[]> {
  const specs = storeSpecs(config);
  const { missing, changed } = await streamDrift(broker, specs, config.replicas);
  const findings = changed.map(({ name, differences }) => {
    const todo = "Give the command the settings of the service; a start of the service with them sets it back.";
    return problem("streams", `${name} is not as declared: ${differences.join(", ")}`, todo);
  });
  if (missing.length > 0) {
    const todo = "Start the service: it declares them. What they held is gone: restore a backup.";
    findings.unshift(problem("streams", `missing: ${missing.join(", ")}`, todo));
  }
  return findings.length > 0 ? findings : [ok("streams", `${specs.length} are as declared`)];
}

async function inspectConsumers(broker: Broker, config: Config): Promise<Finding[]> {
  const specs = storeConsumers(config);
  const drifts = await Promise.all(specs.map((spec) => consumerDrift(broker, spec)));
  const findings = specs.flatMap(({ stream, durable }, index) => {
    const differences = drifts[index];
    if (differences?.length === 0) return [];
    const name = `${durable} of ${stream}`;
    if (differences === undefined) {
      const todo = "Start the service with these settings: it makes it, and what is stored waits for it.";
      return [problem("consumers", `${name} is missing`, todo)];
    }
    const todo = "Start the service with these settings: it sets it back.";
    return [problem("consumers", `${name} is not as declared: ${differences.join(", ")}`, todo)];
  });
  return findings.length > 0 ? findings : [ok("consumers", `${specs.length} are as declared`)];
}

/**
 * How many consumers a stream without a limit of its own may have: what nats-server 2.15 allows if it is not told
 * otherwise, which cannot be asked for.
 */
const defaultMaxConsumers = 1_000;

/** What of a stream is not well. */
export function judgeStream({ name, bytes, maxBytes, consumers, maxConsumers, missing }: StreamRoom): Finding[] {
  const findings: Finding[] = [];
  if (maxBytes > 0) {
    findings.push(judgeRoom(`space of ${name}`, bytes, maxBytes, makeRoom()));
  }
  const remove =
    "Remove consumers that nobody uses, or raise default_max_consumers in the server's limits of JetStream.";
  const most = maxConsumers > 0 ? maxConsumers : defaultMaxConsumers;
  findings.push(judgeRoom(`consumers of ${name}`, consumers, most, remove, "consumers"));
  if (missing > 0) {
    const todo = "See that all servers of the cluster run and reach each other.";
    findings.push(warning(`copies of ${name}`, `${missing} are away or behind`, todo));
  }
  return findings.filter(({ level }) => level !== "ok");
}

/** How near a stream is to what the service lets it hold. */
export function judgeBound({ name, bytes, messages }: StreamRoom, config: Config): Finding[] {
  const bound = storeBounds(config).find(({ stream }) => stream === name);
  if (bound === undefined) return [];
  return [
    judgeRoom(`space of ${name}`, bytes, bound.maxBytes, makeRoom(bound.setting)),
    judgeRoom(`messages of ${name}`, messages, bound.maxMessages, tooManyMessages, "messages"),
  ].filter(({ level }) => level !== "ok");
}

async function inspectAccount(broker: Broker): Promise<Finding[]> {
  const { files, memory, streams, consumers } = await readAccount(broker);
  const judge = (check: string, { used, most }: Use, setting: string, what: string): Finding[] => {
    const todo = `Give the account more ${setting} in JetStream.`;
    return most > 0 ? [judgeRoom(`${check} of the account`, used, most, todo, what)] : [];
  };
  return [
    ...judge("space", files, "max_file", "bytes"),
    ...judge("memory", memory, "max_mem", "bytes"),
    ...judge("streams", streams, "max_streams", "streams"),
    ...judge("consumers", consumers, "max_consumers", "consumers"),
  ];
}
