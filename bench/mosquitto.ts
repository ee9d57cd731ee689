import { randomInt } from "node:crypto";
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Launcher, Server } from "./processes.ts";

/** Where the system's Mosquitto is; undefined when it is not installed. */
export function findMosquitto(): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"];
  return folders.map((folder) => join(folder, "mosquitto")).find(isProgram);
}

/** Starts Mosquitto without persistence and without limits of connections. */
export async function startMosquitto(launch: Launcher, path: string): Promise<Server> {
  // Below the range of outgoing connections.
  const port = randomInt(10_240, 32_768);
  const dir = mkdtempSync(join(tmpdir(), "mustreach-mosquitto-"));
  const config = join(dir, "mosquitto.conf");
  const lines = [`listener ${port} 127.0.0.1`, "allow_anonymous true", "max_connections -1", "set_tcp_nodelay true"];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const server = await launch.programAt(port, path, "-c", config);
  rmSync(dir, { recursive: true });
  return server;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
