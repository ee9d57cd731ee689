import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";
import { createAuthority, local, useFiles } from "./certificates.ts";
import { listen } from "./listen.ts";
import { findProgram } from "./programs.ts";
import type { Place } from "./through.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A proxy, and how its configuration in `deploy/` is made one of a test. */
interface Proxy {
  readonly config: string;
  readonly adapt: (config: string, at: { dir: string; port: number; ports: readonly number[] }) => string;
  readonly args: (config: string) => string[];
}

/** Two instances are in the configurations; where there is one, it is both. */
const backends = (text: string, [a = 0, b = a]: readonly number[]) =>
  text.replaceAll(/\b10002\b/g, String(a)).replaceAll(/\b10012\b/g, String(b));

export const proxies: Readonly<Record<"nginx" | "haproxy" | "envoy", Proxy>> = {
  nginx: {
    config: "nginx/mustreach.conf",
    adapt: (config, { dir, port, ports }) => {
      const http = backends(config, ports)
        .replace("listen 443", `listen 127.0.0.1:${port}`)
        .replaceAll("/etc/nginx/", `${dir}/`);
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
        (name) => `${name}_temp_path ${dir}/${name};`,
      );
      const main = `daemon off; worker_processes 1; pid ${dir}/pid; error_log stderr; events { worker_connections 1000; }`;
      return `${main}\nhttp {\naccess_log off;\n${temporary.join("\n")}\n${http}}\n`;
    },
    args: (config) => ["-e", "stderr", "-c", config],
  },
  haproxy: {
    config: "haproxy/haproxy.cfg",
    adapt: (config, { dir, port, ports }) =>
      // The machine of the tests may not let it open as many files.
      backends(config, ports)
        .replace("maxconn 50000", "maxconn 1000")
        .replace("bind :443", `bind 127.0.0.1:${port}`)
        .replaceAll("/etc/haproxy/", `${dir}/`),
    args: (config) => ["-db", "-f", config],
  },
  envoy: {
    config: "envoy/envoy.yaml",
    adapt: (config, { dir, port, ports }) =>
      backends(config, ports)
        .replace("address: 0.0.0.0, port_value: 443", `address: 127.0.0.1, port_value: ${port}`)
        .replaceAll("/etc/envoy/", `${dir}/`),
    args: (config) => ["-c", config, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"],
  },
};

/** Starts a proxy of this machine, with its configuration of `deploy/`, before the services at these ports. */
export async function useProxy(name: keyof typeof proxies, ports: readonly number[]): Promise<Place> {
  const program = findProgram(name);
  if (program === undefined) throw new Error(`${name} is not on PATH`);
  const { config, adapt, args } = proxies[name];
  const ca = await createAuthority();
  const { cert, key } = await ca.issue(local);
  const files = await useFiles({ "tls.crt": cert, "tls.key": key, "mustreach.pem": cert + key });
  const port = await findFreePort();
  const text = readFileSync(join(root, "deploy", config), "utf8");
  await files.write("config.yaml", adapt(text, { dir: files.path("").replace(/\/$/, ""), port, ports }));
  const child = spawn(program, args(files.path("config.yaml")), { stdio: ["ignore", "ignore", "pipe"] });
  const said: string[] = [];
  child.stderr.on("data", (chunk) => said.push(String(chunk)));
  onTestFinished(() => end(child));
  await vi.waitFor(
    async () => {
      if (child.exitCode !== null) throw new Error(`${name} has ended:\n${said.join("")}`);
      await canConnect(port);
    },
    { timeout: 60_000, interval: 50 },
  );
  return { url: `https://127.0.0.1:${port}`, ca: ca.cert };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  return port;
}

async function canConnect(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
  } finally {
    socket.destroy();
  }
}
