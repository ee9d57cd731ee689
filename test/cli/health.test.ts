import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { listen } from "../helpers/listen.ts";
import { startTestServer } from "../helpers/server.ts";

const root = resolve(import.meta.dirname, "..", "..");

/** Runs `mustreach health` where a service has its operator's port. */
async function health(adminPort: string, ...args: string[]) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTREACH_"));
  const env = { ...Object.fromEntries(own), MUSTREACH_ADMIN_HOST: "0.0.0.0", MUSTREACH_ADMIN_PORT: adminPort };
  const child = execFile(process.execPath, ["src/cli/main.ts", "health", ...args], { cwd: root, env });
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (data) => {
    stdout += data;
  });
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

test("health tells whether the service answers, and whether it is ready", async () => {
  const broker = await startExternalBroker();
  onTestFinished(() => broker.remove());
  const server = await startTestServer({ NATS_URL: broker.url });
  onTestFinished(() => server.stop());
  const { port } = new URL(server.adminUrl ?? "");
  expect(await health(port)).toEqual({ code: 0, stdout: '{"status":"ok"}\n', stderr: "" });
  expect((await health(port, "--ready")).code).toBe(0);

  await broker.pause();
  await expect.poll(async () => (await fetch(`${server.adminUrl}/readyz`)).status).toBe(503);
  expect((await health(port)).code).toBe(0);
  const { code, stdout } = await health(port, "--ready");
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ ready: false, problems: ["the broker cannot be reached"] });
});

test("health fails where nothing answers, and where nobody can know the port", async () => {
  const server = createServer();
  const port = await listen(server);
  await new Promise((done) => server.close(done));
  expect(await health(String(port))).toEqual({ code: 1, stdout: "", stderr: "the service does not answer\n" });
  for (const unknown of ["0", "off"]) expect((await health(unknown)).code).toBe(2);
});
