import { auditBroker, BrokerUnfitError, natsServerFloor } from "../broker/audit.ts";
import type { Broker } from "../broker/connect.ts";
import { streamProblems } from "../broker/declare.ts";
import { readAccount, readStreams } from "../broker/snapshots/streams.ts";
import type { Config } from "../config.ts";
import { maxOverheadBytes } from "../limits.ts";
import { storeSpecs } from "../store.ts";
import { type Finding, judgeClock, judgeRoom, ok, problem, warning } from "./finding.ts";

/** Looks at a broker: what it is, what its account may, and whether the streams are as this version declares them. */
export async function inspectBroker(broker: Broker, config: Config): Promise<Finding[]> {
  const specs = storeSpecs(config);
  const findings: Finding[] = [];
  try {
    const { version, durability, warnings, maxPayloadBytes } = await auditBroker(broker, config.replicas);
    findings.push(ok("broker", `nats-server ${version}`));
    if (warnings.length === 0) findings.push(ok("durability", durability));
    for (const text of warnings) {
      findings.push(warning("durability", text, "See docs/operating.md, section The broker."));
    }
    const needed = config.maxDataBytes + maxOverheadBytes;
    const payload = `max_payload is ${maxPayloadBytes}, ${needed} are needed`;
    const todo = `Set max_payload to at least ${needed}, or a smaller MUSTREACH_MAX_DATA_BYTES.`;
    findings.push(maxPayloadBytes < needed ? problem("message size", payload, todo) : ok("message size", payload));
  } catch (error) {
    if (!(error instanceof BrokerUnfitError)) throw error;
    findings.push(problem("broker", error.message, `Upgrade it to ${natsServerFloor} or later.`));
  }

  for (const text of await streamProblems(broker, specs, config.replicas)) {
    const todo =
      "Start the service with these settings: it declares them. What a missing one held is gone: restore a backup.";
    findings.push(problem("streams", text, todo));
  }
  if (!findings.some(({ check }) => check === "streams")) {
    findings.push(ok("streams", `${specs.length} are as declared`));
  }

  const askedMs = Date.now();
  const { streams, timesMs } = await readStreams(
    broker,
    specs.map(({ name }) => name),
  );
  for (const { name, bytes, maxBytes, missing } of streams) {
    const todo = "A full one refuses or evicts: let devices catch up, or set more MUSTREACH_MAX_STORE_BYTES.";
    if (maxBytes > 0 && bytes >= 0.8 * maxBytes) findings.push(judgeRoom(`space of ${name}`, bytes, maxBytes, todo));
    if (missing > 0) {
      const todo = "See that all servers of the cluster run and reach each other.";
      findings.push(warning(`copies of ${name}`, `${missing} are away or behind`, todo));
    }
  }
  const [timeMs] = timesMs;
  if (timeMs !== undefined) findings.push(judgeClock("broker's clock", timeMs, askedMs, Date.now()));

  const account = await readAccount(broker);
  const room = account.maxBytes;
  if (room > 0) {
    findings.push(
      judgeRoom("space of the account", account.bytes, room, "Give the account more max_file in JetStream."),
    );
  }
  return findings;
}
