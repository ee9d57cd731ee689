import { Command } from "commander";
import { ConfigError, loadConfig } from "../config.ts";
import { print } from "./print.ts";

/** How long an answer may take, in milliseconds. */
const timeoutMs = 4_000;

/** `health`: asks the service of this machine, for what has no HTTP of its own, such as a container's health check. */
export function healthCommand(): Command {
  return new Command("health")
    .description("ask the operator's port of this machine whether the service answers: exit code 0, else 1")
    .option("--ready", "whether it can keep its promise now, with the reasons if it cannot")
    .action(async ({ ready }: { ready?: boolean }) => {
      const response = await fetch(`${operatorUrl()}${ready ? "/readyz" : "/healthz"}`, {
        signal: AbortSignal.timeout(timeoutMs),
      }).catch((cause: unknown) => {
        throw new Error("the service does not answer", { cause });
      });
      print((await response.json()) as object);
      if (!response.ok) process.exitCode = 1;
    });
}

/** Where the operator's port answers; one on all addresses does so on the loopback interface. */
export function operatorUrl(): string {
  const { adminHost, adminPort } = loadConfig(process.env);
  if (!adminPort) {
    throw new ConfigError("MUSTREACH_ADMIN_PORT is off, or any free port: there is no telling where to ask.");
  }
  const host = { "0.0.0.0": "127.0.0.1", "::": "::1" }[adminHost] ?? adminHost;
  return `http://${host.includes(":") ? `[${host}]` : host}:${adminPort}`;
}
