import { createServer } from "node:tls";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { languages, makeReady } from "../clients/languages.ts";
import type { Program } from "../clients/program.ts";
import { runRing } from "../clients/ring.ts";
import { type Outcome, readVectors, runVectors } from "../clients/scenario.ts";
import { createAuthority, local, useFiles } from "../helpers/certificates.ts";
import { listen } from "../helpers/listen.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";
import type { TestSettings } from "../helpers/server.ts";

/** Long enough for compilers that have nothing in their caches, on a machine that has other things to do, in milliseconds. */
const buildTimeout = 900_000;

const programs = new Map<string, Program>();
const notRun: string[] = [];

afterAll(async () => {
  await Promise.all([...programs.values()].map((program) => program.stop?.()));
  process.stdout.write(`clients run: ${[...programs.keys()].join(", ")}; not run: ${notRun.join(", ")}\n`);
});

describe.concurrent("a client to copy is built where its toolchain is:", () => {
  for (const language of languages) {
    test(language.name, { timeout: buildTimeout }, async ({ skip }) => {
      const ready = await makeReady(language);
      if ("missing" in ready) {
        notRun.push(`${language.name} (${ready.missing})`);
        return skip(ready.missing);
      }
      programs.set(language.name, ready.program);
    });
  }
});

describe("with the vectors that all clients share,", () => {
  const cast = languages.filter((language) => !language.isRingOnly);
  let outcomes: ReadonlyMap<string, Outcome>;
  beforeAll(async () => {
    outcomes = await runVectors(new Map([...programs].filter(([name]) => cast.some((one) => one.name === name))));
  }, 600_000);

  for (const { name } of cast) {
    test(name, async ({ skip }) => {
      if (!programs.has(name)) return skip("it is not there");
      const outcome = outcomes.get(name);
      if (outcome instanceof Error) throw outcome;
      expect(outcome).toBe((await readVectors()).steps.length);
    });
  }
});

test("each sends to the next one, and the last one to the first", async () => {
  expect(programs.size).toBeGreaterThan(0);
  await runRing(programs, await start({}));
});

test("over TLS each sends with a certificate of its own, and receives without one", async () => {
  const speaking = languages.filter(({ name, speaksTls }) => speaksTls && programs.has(name));
  const ca = await createAuthority();
  const [shown, orders] = [
    await ca.issue({ ...local, name: "mustreach" }),
    await ca.issue({ name: "orders", usage: "client" }),
  ];
  const { path } = await useFiles({
    ca: ca.cert,
    cert: shown.cert,
    key: shown.key,
    own: orders.cert,
    ownKey: orders.key,
  });
  const service = await start({
    TLS_CERT_FILE: path("cert"),
    TLS_KEY_FILE: path("key"),
    TLS_CLIENT_AUTH: "request",
    TLS_CLIENT_CA_FILE: path("ca"),
    ACCESS_LOG: "all",
  });
  await runRing(new Map([...programs].filter(([name]) => speaking.some((one) => one.name === name))), service, {
    sending: { caFile: path("ca"), certFile: path("own"), keyFile: path("ownKey") },
    receiving: { caFile: path("ca") },
  });
  const sends = () => service.log.filter(({ rpc }) => String(rpc).endsWith("SendBusinessNotification"));
  // A line is written after its answer.
  await vi.waitFor(() => expect(sends().length).toBeGreaterThanOrEqual(speaking.length));
  for (const line of sends()) expect(line).toMatchObject({ certificate: ["CN:orders"] });
});

test("over TLS none sends to whom its authorities have not certified", async () => {
  const [ours, theirs] = [await createAuthority(), await createAuthority("Another CA")];
  const { cert, key } = await theirs.issue({ ...local, name: "mustreach" });
  const { path } = await useFiles({ ca: ours.cert, token: "of an admin" });
  const speaking = languages.filter(({ name, speaksTls }) => speaksTls && programs.has(name));
  await Promise.all(
    speaking.map(async ({ name }) => {
      const heard = { refusals: 0, handshakes: 0 };
      const stranger = createServer({ cert, key, ALPNProtocols: ["h2", "http/1.1"] }, () => heard.handshakes++).on(
        "tlsClientError",
        () => heard.refusals++,
      );
      const port = await listen(stranger);
      onTestFinished(() => void stranger.close());
      const address = `127.0.0.1:${port}`;
      const files = { tokenFile: path("token"), stateFile: path(name), caFile: path("ca") };
      const sending = await programs
        .get(name)
        ?.run(["send", "u", "id", "k", "d"], { address, deviceId: "d", ...files });
      onTestFinished(() => sending?.kill());
      await vi.waitFor(() => expect(heard.refusals, name).toBeGreaterThan(0));
      expect(heard.handshakes, name).toBe(0);
    }),
  );
});

async function start(settings: TestSettings): Promise<ServiceProcess> {
  const service = await startProcess(settings);
  onTestFinished(() => service.remove());
  return service;
}
