import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";
import { testSecret } from "../helpers/server.ts";
import type { Program, Running, Surroundings } from "./program.ts";
import { type Relay, startRelay } from "./relay.ts";

interface Notification {
  readonly key: string;
  readonly data: string;
}

interface Refused {
  readonly errCode: number;
  readonly errMsg: string;
  readonly field?: string;
}

interface Step {
  readonly do: string;
  readonly id?: string;
  /** What is sent in place of the notification's own. */
  readonly change?: Partial<Notification>;
  readonly refused?: Refused;
  readonly arrives?: readonly string[];
}

interface Vectors {
  readonly notifications: Readonly<Record<string, Notification>>;
  readonly steps: readonly Step[];
}

/** How long the next line of a client may take, in milliseconds, before it is taken for lost. */
const patienceMs = 240_000;

/** The vectors that all clients share. */
export async function readVectors(): Promise<Vectors> {
  return JSON.parse(await readFile(resolve(import.meta.dirname, "../../clients/vectors.json"), "utf8"));
}

/**
 * Puts a client through the vectors, against a service of its own. Resolves to how many steps it has passed.
 *
 * @throws what was expected and what came instead, with what the client has complained of.
 */
export async function runVectors(program: Program): Promise<number> {
  const { notifications, steps } = await readVectors();
  const stage = await setStage();
  const scene = createScene(program, stage, notifications);
  try {
    for (const [index, step] of steps.entries()) {
      await scene.play(step).catch((error: Error) => {
        const where = `step ${index + 1}, ${step.do} ${step.id ?? ""}`;
        throw new Error(`${where}: ${error.message}\n${scene.complaints()}`, { cause: error });
      });
    }
    return steps.length;
  } finally {
    await scene.end();
    await stage.remove();
  }
}

/** The service, the relay before it and the files of the tokens. */
interface Stage extends Awaited<ReturnType<typeof setStage>> {}

async function setStage() {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-clients-"));
  const relay: Relay = await startRelay();
  const services: ServiceProcess[] = [];
  const at = (file: string): Surroundings => ({
    address: relay.address,
    tokenFile: join(dir, file),
    deviceId: "phone",
    stateFile: join(dir, "state"),
  });
  async function start(dataDir?: string): Promise<ServiceProcess> {
    const service = await startProcess({}, dataDir);
    services.push(service);
    relay.leadTo(Number(new URL(service.url).port));
    return service;
  }
  const service = await start();
  await writeFile(join(dir, "admin-token"), await service.adminToken());
  return {
    admin: at("admin-token"),
    user: at("user-token"),
    relay,
    start,
    /** Puts a token where the receiver looks for it, in one piece: one that is half written would be a wrong one. */
    async give(token: string) {
      await writeFile(join(dir, "new-token"), token);
      await rename(join(dir, "new-token"), join(dir, "user-token"));
    },
    service: () => services.at(-1) ?? service,
    async remove() {
      relay.close();
      for (const started of services) await started.remove();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function createScene(program: Program, stage: Stage, notifications: Vectors["notifications"]) {
  const userId = "dora";
  const runs: Running[] = [];
  let receiver: Running | undefined;
  const sent = new Map<string, string>();

  async function run(args: readonly string[], surroundings: Surroundings): Promise<Running> {
    const running = await program.run(args, surroundings);
    runs.push(running);
    return running;
  }

  function send({ id = "", change }: Step): Promise<Running> {
    const { key, data } = { ...notifications[id], ...change };
    return run(["send", userId, id, key ?? "", data ?? ""], stage.admin);
  }

  async function finishSend(sending: Running, { id = "", refused }: Step): Promise<void> {
    const line = await lineOf(sending);
    if (refused !== undefined) {
      const { errCode, errMsg, field = "" } = refused;
      return expectLine(line, ["error", String(errCode), errMsg, field]);
    }
    expectLine(line, ["sent", id, sent.get(id)]);
    sent.set(id, line?.split("\t")[2] ?? "");
  }

  /** Calls the service as an admin, by REST. */
  async function post(path: string, body: object): Promise<Record<string, unknown>> {
    const service = stage.service();
    const response = await fetch(service.url + path, {
      method: "POST",
      headers: { token: await service.adminToken(), operationID: "clients" },
      body: JSON.stringify(body),
    });
    const { errCode, errDlt, data } = await response.json();
    if (errCode !== 0) throw new Error(`${path}: ${errCode} ${errDlt}`);
    return data;
  }

  const sendByRest = (id: string, more: object) =>
    post("/msg/send_business_notification", {
      ...{ sendUserID: "imAdmin", recvUserID: userId, clientMsgID: id, ...notifications[id] },
      ...more,
    });

  async function expectArrival(expected: string): Promise<void> {
    if (receiver === undefined) throw new Error("nothing receives");
    const line = await lineOf(receiver);
    const [kind = "", ...rest] = expected.split(" ");
    const id = rest.join(" ");
    const words: Readonly<Record<string, readonly (string | undefined)[]>> = {
      notification: [kind, undefined, id, notifications[id]?.key, notifications[id]?.data],
      push: [kind, "0", id, notifications[id]?.key, notifications[id]?.data],
      recall: [kind, undefined, id],
      settled: [kind, undefined, id],
      gap: [kind, undefined, id],
      ready: [kind, undefined],
    };
    expectLine(line, words[kind] ?? expected.split(" "));
  }

  /** How far a notification has come with the user. */
  async function status(id: string): Promise<unknown> {
    const { recipients } = await post("/msg/get_delivery_status", { clientMsgID: id });
    return Array.isArray(recipients) ? recipients[0]?.state : undefined;
  }

  async function receive(): Promise<void> {
    receiver = await run(["receive"], stage.user);
  }

  const acts: Readonly<Record<string, (step: Step) => Promise<unknown>>> = {
    send: async (step) => finishSend(await send(step), step),
    "send again": async (step) => finishSend(await send(step), step),
    recall: ({ id }) => post("/msg/recall_business_notification", { clientMsgID: id }),
    push: ({ id = "" }) => sendByRest(id, { reliabilityLevel: 1 }),
    async "receive with an expired token"() {
      const mint = createTokenMinter({ secret: testSecret, ttlMs: -60_000 });
      await stage.give((await mint({ userId, platformId: 5 })).token);
      await receive();
    },
    "renew the token": async () => stage.give(await stage.service().userToken(userId)),
    receive,
    async "cut the connection"() {
      stage.relay.cut();
    },
    async "send while the service restarts"(step) {
      const { kill, dataDir } = stage.service();
      await kill("SIGTERM");
      const sending = await send(step);
      await stage.start(dataDir);
      await finishSend(sending, step);
    },
    async "restart with an empty store"() {
      await stage.service().kill("SIGKILL");
      await stage.start();
    },
    async "kill the receiver"() {
      await until(async () => (await status("while the service restarts")) === "delivered");
      await receiver?.kill();
    },
    async "let expire"({ id = "" }) {
      await sendByRest(id, { reliabilityLevel: 2, ttlSeconds: 1 });
      await until(async () => (await status(id)) === "expired");
    },
    async "settle by another device"({ id = "" }) {
      await sendByRest(id, { reliabilityLevel: 2, ackScope: "user" });
      const { url, userToken } = stage.service();
      await acknowledgeAt(url, await userToken(userId), id);
    },
    async "open another session of the device"() {
      const service = stage.service();
      const leaving = new AbortController();
      const headers = { token: await service.userToken(userId) };
      const query = `deviceID=${stage.user.deviceId}`;
      await fetch(`${service.url}/events?${query}`, { headers, signal: leaving.signal });
    },
  };

  return {
    async play(step: Step): Promise<void> {
      const act = acts[step.do];
      if (act === undefined) throw new Error("no such step");
      await act(step);
      for (const expected of step.arrives ?? []) await expectArrival(expected);
    },
    complaints: () => runs.map((running) => running.complaints).join(""),
    async end(): Promise<void> {
      await Promise.all(runs.map((running) => running.kill()));
    },
  };
}

/** Receives with a device of its own until there is a notification, and acknowledges that. */
async function acknowledgeAt(url: string, token: string, id: string): Promise<void> {
  const deviceID = "tablet";
  const leaving = new AbortController();
  const headers = { token, operationID: "clients" };
  const { body } = await fetch(`${url}/events?deviceID=${deviceID}`, { headers, signal: leaving.signal });
  let text = "";
  for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const [, data] = new RegExp(`\ndata: (.*"clientMsgID":"${id}".*)\n`).exec(text) ?? [];
    if (data === undefined) continue;
    const { sequence, epoch } = JSON.parse(data);
    const place = JSON.stringify({ deviceID, sequence, epoch });
    const answer = await (await fetch(`${url}/ack`, { method: "POST", headers, body: place })).json();
    leaving.abort();
    if (answer.errCode !== 0) throw new Error(`/ack: ${answer.errCode} ${answer.errDlt}`);
    return;
  }
  throw new Error("the other device has not got it");
}

/** Asks again until it is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + patienceMs;
  while (!(await isSo())) {
    if (Date.now() > giveUpAt) throw new Error("that has not come about");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The next line of a run; what is no line of the vectors' is an error. */
export async function lineOf(running: Running): Promise<string | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no line in ${patienceMs / 1_000} s`)), patienceMs);
  });
  try {
    return await Promise.race([running.nextLine(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Holds a line to its words, of which the undefined ones may be anything. */
export function expectLine(line: string | undefined, words: readonly (string | undefined)[]): void {
  const got = line?.split("\t") ?? [];
  const isIt = words.every((word, index) => word === undefined || word === (got[index] ?? ""));
  if (!isIt)
    throw new Error(`expected ${words.map((word) => word ?? "…").join(" | ")}, not ${got.join(" | ") || "the end"}`);
}
