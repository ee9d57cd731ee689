import { connectBroker } from "../broker/connect.ts";
import type { Config } from "../config.ts";
import { createLog } from "../observe/log.ts";
import { inspectBroker } from "./broker.ts";
import { inspectEmbedded } from "./embedded.ts";
import { type Finding, problem } from "./finding.ts";
import { inspectRights } from "./rights.ts";
import { inspectService } from "./service.ts";
import { inspectCertificate, inspectDisk, inspectSettings } from "./settings.ts";

/** Looks at the settings, the machine, the service, and the broker: an embedded one through its service. */
export async function diagnose(config: Config, service: Parameters<typeof inspectService>[0]): Promise<Finding[]> {
  return [
    ...inspectSettings(config),
    ...(await inspectCertificate(config)),
    ...(config.natsUrl === undefined ? await inspectDisk(config.dataDir) : []),
    ...(await inspectService(service)),
    ...(config.natsUrl === undefined
      ? await inspectEmbedded(config, service.adminUrl)
      : await inspectExternal(config, config.natsUrl)),
  ];
}

async function inspectExternal(config: Config, servers: string[]): Promise<Finding[]> {
  const { natsCreds: creds, sendTimeout: requestTimeoutMs } = config;
  const options = { servers, creds, requestTimeoutMs, log: createLog("silent") };
  let rights: Finding[];
  try {
    rights = await inspectRights(options, config);
  } catch (error) {
    return [problem("broker", textOf(error), "Start it, or mend MUSTREACH_NATS_URL and its credentials.")];
  }
  try {
    const broker = await connectBroker(options);
    try {
      return [...rights, ...(await inspectBroker(broker, config))];
    } finally {
      await broker.close();
    }
  } catch (error) {
    // What it may not do has been found.
    if (rights.some(({ level }) => level === "problem")) return rights;
    const todo = "Give its account JetStream, as in docs/operating.md, section The NATS account.";
    return [...rights, problem("broker", `it does not let us look: ${textOf(error)}`, todo)];
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
