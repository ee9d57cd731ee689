import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { jetstreamManager } from "@nats-io/jetstream";
import { expect, onTestFinished, test } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { type Config, loadConfig } from "../../src/config.ts";
import { judgeBound, judgeStream } from "../../src/doctor/broker.ts";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { exitCodeOf, type Finding, judgeClock, judgeRoom } from "../../src/doctor/finding.ts";
import { inspectService } from "../../src/doctor/service.ts";
import { inspectCertificate, inspectDisk, inspectSettings } from "../../src/doctor/settings.ts";
import { createAuthority, local, useFiles } from "../helpers/certificates.ts";
import { type ExternalBrokerOptions, startExternalBroker } from "../helpers/external-broker.ts";
import { listen } from "../helpers/listen.ts";
import { startTestServer, testSecret } from "../helpers/server.ts";

const secret = "qK8v2LxPz0Rw7TnYb4Hs6Jd1Fg3Mc5Ae";
const run = promisify(execFile);

function configOf(settings: Record<string, string>): Config {
  return loadConfig(Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTREACH_${name}`, value])));
}

const bad = (findings: readonly Finding[]) => findings.filter(({ level }) => level !== "ok");

async function start(options: ExternalBrokerOptions = {}) {
  const broker = await startExternalBroker(options);
  onTestFinished(() => broker.remove());
  const settings = { NATS_URL: broker.url, TOKEN_SECRET: secret };
  const server = await startTestServer(settings);
  onTestFinished(() => server.stop());
  return { broker, server, settings };
}

test("a deployment that is well is found so by the command, with exit code 0", async () => {
  const { server, settings } = await start();
  const env = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTREACH_${name}`, value]));
  const token = (await server.mint({ userId: "imAdmin", platformId: 10 })).token;
  const args = ["doctor", "--url", server.url, "--admin-url", server.adminUrl ?? "", "--token", token, "--json"];
  const { stdout } = await run(process.execPath, ["src/cli/main.ts", ...args], { env: { ...process.env, ...env } });
  const findings = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Finding);
  expect(bad(findings)).toEqual([]);
  const checks = findings.map(({ check }) => check);
  for (const check of [
    "settings",
    "service's clock",
    "readiness",
    "version",
    "token",
    "broker",
    "durability",
    "message size",
    "permissions",
    "streams",
    "consumers",
    "broker's clock",
  ]) {
    expect(checks).toContain(check);
  }
});

test("of an embedded broker, which lets nobody in, its service tells how full it is", async () => {
  const server = await startTestServer({ MAX_STORE_BYTES: "1048576", MAX_GROUPS_BYTES: "100000" });
  onTestFinished(() => server.stop());
  const token = await server.adminToken();
  const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "x".repeat(225_000), reliabilityLevel: 2 };
  for (let i = 0; i < 4; i++) await server.post("/msg/send_business_notification", send, token);
  const memberUserIDs = Array.from({ length: 220 }, (_, i) => `${"u".repeat(200)}${i}`);
  const groupInfo = { groupID: "crew", groupName: "Crew", groupType: 2 };
  const group = { ownerUserID: "olga", memberUserIDs, groupInfo };
  expect((await server.post("/group/create_group", group, token)).json).toMatchObject({ errCode: 0 });

  const found = await diagnose(configOf({ TOKEN_SECRET: secret }), { url: server.url, adminUrl: server.adminUrl });
  expect(found).toContainEqual({
    level: "ok",
    check: "broker",
    found: expect.stringMatching(/^embedded, \d+ streams .* consumers were not looked at/),
  });
  // Of all streams and limits, those two.
  expect(bad(found).filter(({ check }) => check !== "disk")).toEqual([
    {
      level: "warning",
      check: "space of INBOX_0",
      found: expect.stringContaining(" of 1048576 bytes "),
      todo: expect.stringContaining("MUSTREACH_MAX_STORE_BYTES"),
    },
    {
      level: "problem",
      check: "space of GROUPS",
      found: expect.stringContaining(" of 100000 bytes "),
      todo: expect.stringContaining("MUSTREACH_MAX_GROUPS_BYTES"),
    },
  ]);
});

test("where an embedded broker cannot be looked at, that is said, and why", async () => {
  const server = await startTestServer({ ADMIN_PORT: "off" });
  onTestFinished(() => server.stop());
  const config = configOf({ TOKEN_SECRET: secret });
  const broker = async (adminUrl?: string) =>
    (await diagnose(config, { url: server.url, adminUrl })).filter(({ check }) => check === "broker");
  const warned = (why: string) => [
    {
      level: "warning",
      check: "broker",
      found: expect.stringContaining(why),
      todo: expect.stringContaining("--admin-url"),
    },
  ];
  expect(await broker()).toEqual(warned("lets in nobody but its service"));
  expect(await broker("http://127.0.0.1:1")).toEqual(warned("does not answer"));
  // The port itself has no metrics.
  expect(await broker(server.url)).toEqual(warned("does not answer"));
});

test("a broker without sync, streams that were changed or removed, and one that is full are found", async () => {
  const { broker, server, settings } = await start({ syncInterval: "2m" });
  const jsm = await jetstreamManager(await broker.connect());
  await jsm.streams.update("CHAT", { max_msgs_per_subject: 2 });
  await jsm.streams.delete("DEAD_LETTERS");
  await jsm.consumers.update("INBOX_0", "reach", { max_ack_pending: 10 });
  const config = configOf({ ...settings, MAX_STORE_BYTES: "1048576" });
  const service = { url: server.url, adminUrl: server.adminUrl };
  const found = bad(await diagnose(config, service));
  const about = (check: string) => found.filter((finding) => finding.check === check);
  expect(about("durability")).toMatchObject([{ level: "warning", found: expect.stringContaining("sync_interval") }]);
  const texts = about("streams").map((finding) => finding.found);
  expect(texts).toEqual(
    expect.arrayContaining([
      "missing: DEAD_LETTERS",
      "CHAT is not as declared: max_msgs_per_subject is 2, not 1",
      expect.stringMatching(/^INBOX_0 is not as declared: max_bytes is -?\d+, not 1048576$/),
    ]),
  );
  expect(about("consumers").map((finding) => finding.found)).toEqual([
    "reach of INBOX_0 is not as declared: max_ack_pending is 10, not 50000",
  ]);

  // An instance that runs would make it again.
  await server.stop();
  await jsm.consumers.delete("SCHEDULE", "due");
  expect(await diagnose(config, service)).toContainEqual({
    level: "problem",
    check: "consumers",
    found: "due of SCHEDULE is missing",
    todo: expect.stringContaining("Start the service"),
  });
  expect(found.every(({ todo }) => todo !== undefined)).toBe(true);
  expect(exitCodeOf(found)).toBe(2);
});

test("limits of the account and of a stream that are near are found", async () => {
  const limits = { max_file: 1e12, max_mem: 100_000_000, max_streams: 16, max_consumers: 100 };
  const { broker, settings, server } = await start({ limits });
  const jsm = await jetstreamManager(await broker.connect());
  const streams = (await jsm.getAccountInfo()).streams;
  const { config } = await jsm.streams.info("CHAT");
  await jsm.streams.delete("CHAT");
  await jsm.streams.add({ ...config, max_consumers: 3 });
  for (let i = 0; i < 3; i++) await jsm.consumers.add("CHAT", { durable_name: `foreign_${i}` });
  const found = bad(await diagnose(configOf(settings), { url: server.url }));
  expect(found.filter(({ check }) => check !== "readiness")).toEqual([
    {
      level: "problem",
      check: "consumers of CHAT",
      found: "3 of 3 consumers (100 %)",
      todo: expect.stringContaining("consumers that nobody uses"),
    },
    {
      level: "warning",
      check: "streams of the account",
      found: `${streams} of 16 streams (${Math.round((100 * streams) / 16)} %)`,
      todo: expect.stringContaining("max_streams"),
    },
  ]);
});

test("of a stream, copies that are behind and many consumers are found, which no test has for real in a moment", () => {
  const well = { name: "CHAT", bytes: 1, messages: 1, maxBytes: -1, consumers: 10, maxConsumers: -1, missing: 0 };
  expect(judgeStream(well)).toEqual([]);
  expect(judgeStream({ ...well, missing: 2 })).toMatchObject([
    { level: "warning", check: "copies of CHAT", found: "2 are away or behind", todo: expect.any(String) },
  ]);
  expect(judgeStream({ ...well, consumers: 900 })).toMatchObject([
    { level: "warning", check: "consumers of CHAT", found: "900 of 1000 consumers (90 %)", todo: expect.any(String) },
  ]);
});

test("what the broker's user may not do is found, with what to grant, and nothing is stored for that", async () => {
  const permissions = {
    narrow: { publish: { deny: ["escalation.*.*", "push.>"] }, subscribe: { deny: ["live.revoked.>", "reported.>"] } },
    // As an operator may have it who read the layout.
    listed: { publish: ["$JS.>", "_INBOX.>"], subscribe: ["_INBOX.>"] },
    deaf: { publish: [">"], subscribe: { deny: [">"] } },
    mute: { publish: { deny: ["$JS.API.>"] } },
  };
  const { broker, server } = await start({ permissions });
  const jsm = await jetstreamManager(await broker.connect());
  const messages = async () => {
    const counts: number[] = [];
    for await (const { state } of jsm.streams.list()) counts.push(state.messages);
    return counts;
  };
  const before = await messages();
  const of = async (user: keyof typeof permissions) => {
    const url = broker.url.replace("//", `//${user}:${user}@`);
    const found = bad(await diagnose(configOf({ NATS_URL: url, TOKEN_SECRET: secret }), { url: server.url }));
    return found.filter(({ check }) => check !== "readiness");
  };
  expect(await of("narrow")).toEqual([
    {
      level: "problem",
      check: "permissions",
      found: 'our user may not publish to "escalation.*.*", "push.group.*"',
      todo: expect.stringContaining("publish.allow"),
    },
    {
      level: "problem",
      check: "permissions",
      found: 'our user may not subscribe to "live.revoked.>", "reported.>"',
      todo: expect.stringContaining("subscribe.allow"),
    },
  ]);
  const listed = (await of("listed")).filter(({ check }) => check === "permissions");
  expect(listed.map(({ found }) => found)).toEqual([
    expect.stringMatching(/^our user may not publish to .*"inbox\.0\.\*\.\*\.\*".*"session\.epoch".*"live\.0\.\*\.>"/),
    expect.stringMatching(/^our user may not subscribe to "live\.0\.\*\.>", .*"live\.revoked\.>", "reported\.>"$/),
  ]);
  expect((await of("deaf")).map(({ found }) => found)).toEqual([
    expect.stringMatching(/^our user may not subscribe to "_INBOX\.>", /),
  ]);
  expect((await of("mute")).map(({ found }) => found)).toEqual(['our user may not publish to "$JS.API.>"']);
  expect(await messages()).toEqual(before);
});

test("a user whom the broker does not know, and an account without JetStream, are found", async () => {
  const { broker, server } = await start();
  const of = async (url: string) =>
    bad(await diagnose(configOf({ NATS_URL: url, TOKEN_SECRET: secret }), { url: server.url }));
  expect(await of(broker.url.replace("//", "//nobody:wrong@"))).toContainEqual(
    expect.objectContaining({ level: "problem", check: "broker", todo: expect.stringContaining("credentials") }),
  );
  expect(await of(broker.url.replace("//", "//plain:plain@"))).toContainEqual(
    expect.objectContaining({
      level: "problem",
      check: "broker",
      found: expect.stringContaining("JetStream is not enabled"),
    }),
  );
});

test("an inbox that is full is found", async () => {
  const { broker, settings, server } = await start();
  const jsm = await jetstreamManager(await broker.connect());
  const token = await server.adminToken();
  const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "x".repeat(50_000), reliabilityLevel: 2 };
  for (let i = 0; i < 3; i++) await server.post("/msg/send_business_notification", send, token);
  await jsm.streams.update("INBOX_0", { max_bytes: (await jsm.streams.info("INBOX_0")).state.bytes + 1_000 });
  const found = bad(await diagnose(configOf(settings), { url: server.url }));
  expect(found).toContainEqual(expect.objectContaining({ level: "problem", check: "space of INBOX_0" }));
});

test("a broker that is away, and a service that is, are problems", async () => {
  const config = configOf({ NATS_URL: "nats://127.0.0.1:1", TOKEN_SECRET: secret });
  const found = bad(await diagnose(config, { url: "http://127.0.0.1:1" }));
  expect(found.map(({ level, check }) => `${level} ${check}`)).toEqual(["problem service", "problem broker"]);
});

test.each<[what: string, settings: Record<string, string>, level: string, check: string]>([
  ["a public port without TLS", { HOST: "0.0.0.0", REFLECTION: "false" }, "warning", "tls"],
  ["reflection for everybody", { HOST: "0.0.0.0", TLS_CERT_FILE: "/a", TLS_KEY_FILE: "/b" }, "warning", "reflection"],
  ["an open operator's port", { ADMIN_HOST: "0.0.0.0" }, "warning", "operator's port"],
  ["a secret of one letter", { TOKEN_SECRET: "a".repeat(32) }, "problem", "token secret"],
  ["two secrets", { TOKEN_SECRET: secret, TOKEN_SECRET_PREVIOUS: `${secret}2` }, "warning", "token secret"],
  [
    "a broker over an open network",
    { NATS_URL: "nats://nats-1:4222", TOKEN_SECRET: secret },
    "warning",
    "broker's connection",
  ],
])("%s is found", (_, settings, level, check) => {
  expect(inspectSettings(configOf(settings))).toMatchObject([{ level, check, todo: expect.any(String) }]);
});

test("a clock that is ahead or behind is found, and one within what is read is not", () => {
  expect(judgeClock("c", 10_000, 10_000, 10_500).level).toBe("ok");
  expect(judgeClock("c", 12_000, 10_000, 10_500).level).toBe("ok");
  expect(judgeClock("c", 15_500, 10_000, 10_500)).toMatchObject({ level: "warning", found: "5 s from this machine's" });
  expect(judgeClock("c", 4_000, 10_000, 10_500)).toMatchObject({ level: "warning", found: "-6 s from this machine's" });
  expect(judgeClock("c", 100_000, 10_000, 10_500).level).toBe("problem");
});

test("a service with another clock, that is not ready, of another version and with a bad token is found", async () => {
  const pages: Record<string, [status: number, body: string]> = {
    "/healthz": [200, "{}"],
    "/readyz": [503, JSON.stringify({ ready: false, problems: ["the broker cannot be reached"], warnings: [] })],
    "/metrics": [200, 'mustreach_build_info{version="0.0.1",node="24"} 1'],
    "/auth/parse_token": [200, JSON.stringify({ errCode: 1501, errMsg: "TokenExpiredError", errDlt: "" })],
  };
  const fake = createServer((request, response) => {
    const [status, body] = pages[request.url ?? ""] ?? [404, ""];
    response.writeHead(status, { date: new Date(Date.now() - 600_000).toUTCString() }).end(body);
  });
  onTestFinished(() => void fake.close());
  const url = `http://127.0.0.1:${await listen(fake)}`;
  expect(await inspectService({ url, adminUrl: url, token: "t" })).toMatchObject([
    { level: "problem", check: "service's clock" },
    { level: "problem", check: "readiness", found: "the broker cannot be reached" },
    { level: "warning", check: "version" },
    { level: "problem", check: "token" },
  ]);
});

test("a disk that fills is found", async () => {
  const disk = (bavail: number) => (async () => ({ blocks: 100, bavail, bsize: 4_096 })) as never;
  expect(await inspectDisk("/data", disk(50))).toMatchObject([{ level: "ok" }]);
  expect(await inspectDisk("/data", disk(10))).toMatchObject([{ level: "warning" }]);
  expect(await inspectDisk("/data", disk(2))).toMatchObject([{ level: "problem" }]);
  expect(await inspectDisk("/nowhere/at/all")).toEqual([]);
  expect(judgeRoom("r", 80, 100, "t").level).toBe("warning");
});

test("a certificate that ends soon, or has ended, is found", async () => {
  const authority = await createAuthority();
  const day = 86_400_000;
  const judge = async (lastsMs: number) => {
    const { path } = await useFiles({ "cert.pem": (await authority.issue({ ...local, lastsMs })).cert });
    return inspectCertificate({ tlsCertFile: path("cert.pem") });
  };
  expect(await judge(30 * day)).toMatchObject([{ level: "ok", found: "it ends in 29 days" }]);
  expect(await judge(5 * day)).toMatchObject([{ level: "warning", todo: expect.stringContaining("Renew") }]);
  expect(await judge(-3_600_000)).toMatchObject([{ level: "problem", found: "it has ended" }]);
});

test("a token that is about to end is found", async () => {
  const { server } = await start();
  const { token } = await createTokenMinter({ secret, ttlMs: 3_600_000 })({
    userId: "imAdmin",
    platformId: 10,
  });
  expect(bad(await inspectService({ url: server.url, adminUrl: server.adminUrl, token }))).toMatchObject([
    {
      level: "warning",
      check: "token",
      found: expect.stringMatching(/^good for [01] hours$/),
      todo: expect.any(String),
    },
  ]);
});

test("a certificate that cannot be read is found", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-doctor-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, "cert.pem"), "none");
  expect(await inspectCertificate({ tlsCertFile: join(dir, "cert.pem") })).toMatchObject([{ level: "problem" }]);
  expect(await inspectCertificate({ tlsCertFile: undefined })).toEqual([]);
});

test("no finding shows a secret", () => {
  const findings = inspectSettings(
    configOf({ TOKEN_SECRET: "a".repeat(32), NATS_URL: "nats://bob:hunter2@nats-1:4222" }),
  );
  expect(JSON.stringify([findings, testSecret.length])).not.toMatch(/aaaa|hunter2/);
});

test("what the service lets a stream hold is judged, too", () => {
  const room = { name: "CHAT", bytes: 1, messages: 1, maxBytes: -1, consumers: 1, maxConsumers: -1, missing: 0 };
  const config = configOf({ TOKEN_SECRET: secret, MAX_CHAT_BYTES: "100000" });
  expect(judgeBound(room, config)).toEqual([]);
  expect(judgeBound({ ...room, bytes: 90_000 }, config)).toMatchObject([
    { level: "warning", check: "space of CHAT", todo: expect.stringContaining("MUSTREACH_MAX_CHAT_BYTES") },
  ]);
  expect(judgeBound({ ...room, messages: 49_000_000 }, config)).toMatchObject([{ check: "messages of CHAT" }]);
  expect(judgeBound({ ...room, name: "INBOX_0", bytes: 95_000 }, config)).toEqual([]);
});
