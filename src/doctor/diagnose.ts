import { connectBroker } from "../broker/connect.ts";
import type { Config } from "../config.ts";
import { createLog } from "../observe/log.ts";
import { inspectBroker } from "./broker.ts";
import { type Finding, problem } from "./finding.ts";
import { inspectService } from "./service.ts";
import { inspectCertificate, inspectDisk, inspectSettings } from "./settings.ts";

/** Looks at the settings, the machine, the service, and the broker at MUSTREACH_NATS_URL: an embedded one answers nobody else. */
export async function diagnose(config: Config, service: Parameters<typeof inspectService>[0]): Promise<Finding[]> {
  return [
    ...inspectSettings(config),
    ...(await inspectCertificate(config)),
    ...(config.natsUrl === undefined ? await inspectDisk(config.dataDir) : []),
    ...(await inspectService(service)),
    ...(config.natsUrl === undefined ? [] : await inspectExternal(config, config.natsUrl)),
  ];
}

async function inspectExternal(config: Config, servers: string[]): Promise<Finding[]> {
  const { natsCreds: creds, sendTimeout: requestTimeoutMs } = config;
  const options = { servers, creds, requestTimeoutMs, log: createLog("silent") };
  const broker = await connectBroker(options).catch((error: unknown) =>
    String(error instanceof Error ? error.message : error),
  );
  if (typeof broker === "string")
    return [problem("broker", broker, "Start it, or mend MUSTREACH_NATS_URL and its credentials.")];
  try {
    return await inspectBroker(broker, config);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    const todo = "Give its user the permissions in docs/operating.md, section The NATS account.";
    return [problem("permissions", `the broker does not let us look: ${said}`, todo)];
  } finally {
    await broker.close();
  }
}
