import type { ConnectOptions } from "../broker/connect.ts";
import { missingRights } from "../broker/inspection/rights.ts";
import type { Config } from "../config.ts";
import { storeRights } from "../store.ts";
import { type Finding, ok, problem } from "./finding.ts";

/** Whether the broker lets our user publish and subscribe to all that a service with these settings does. */
export async function inspectRights(options: ConnectOptions, config: Config): Promise<Finding[]> {
  const missing = await missingRights(options, storeRights(config));
  const findings = (["publish", "subscribe"] as const).flatMap((operation) => {
    const subjects = missing[operation].map((subject) => JSON.stringify(subject)).join(", ");
    const todo = `Add them to ${operation}.allow of its permissions, or give it an account of its own: see docs/operating.md, section The NATS account.`;
    return subjects === "" ? [] : [problem("permissions", `our user may not ${operation} to ${subjects}`, todo)];
  });
  return findings.length > 0 ? findings : [ok("permissions", "our user may all that it needs")];
}
