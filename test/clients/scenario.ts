import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { testSecret } from "../helpers/server.ts";
import type { Program, Running, Surroundings } from "./program.ts";
import { type Stage, setStage } from "./stage.ts";

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

/** What has become of a client: how many steps it has passed, or which it has not, and why. */
export type Outcome = number | Error;

/**
 * Puts clients through the vectors, step by step and side by side: each is a user of its own, behind a relay of its own,
 * and all of one service, which is slow to start.
 */
export async function runVectors(programs: ReadonlyMap<string, Program>): Promise<ReadonlyMap<string, Outcome>> {
  const { notifications, steps } = await readVectors();
  const stage = await setStage();
  const outcomes = new Map<string, Outcome>();
  const scenes = new Map<string, Scene>();
  try {
    for (const [name, program] of programs) scenes.set(name, await createScene(name, program, stage, notifications));
    /** Those that have passed every step so far. */
    const each = (play: (scene: Scene, name: string) => Promise<unknown>, where: string) =>
      Promise.all(
        [...scenes].map(([name, scene]) =>
          play(scene, name).catch((error: Error) => {
            scenes.delete(name);
            outcomes.set(name, new Error(`${where}: ${error.message}\n${scene.complaints()}`, { cause: error }));
            return scene.end();
          }),
        ),
      );
    for (const [index, step] of steps.entries()) {
      const where = `step ${index + 1}, ${step.do} ${step.id ?? ""}`;
      const finish = new Map<string, () => Promise<void>>();
      await stage.stop(step.do);
      await each(async (scene, name) => void finish.set(name, await scene.begin(step)), where);
      await stage.startAgain(step.do);
      await each(async (_, name) => finish.get(name)?.(), where);
    }
    for (const name of scenes.keys()) outcomes.set(name, steps.length);
    return outcomes;
  } finally {
    for (const scene of scenes.values()) await scene.end();
    await stage.remove();
  }
}

/** One client on the stage. */
interface Scene {
  /** Begins its part of a step; what it resolves to is done when the service runs again. */
  begin(step: Step): Promise<() => Promise<void>>;
  /** What the client has said for people. */
  complaints(): string;
  end(): Promise<void>;
}

async function createScene(
  name: string,
  program: Program,
  stage: Stage,
  notifications: Vectors["notifications"],
): Promise<Scene> {
  const userId = `dora of ${name}`;
  const { admin, user, relay, give } = await stage.enter(name);
  const runs: Running[] = [];
  let receiver: Running | undefined;
  const sent = new Map<string, string>();
  /** Its ids are no one else's. */
  const idOf = (id: string) => `${id} of ${name}`;

  async function run(args: readonly string[], surroundings: Surroundings): Promise<Running> {
    const running = await program.run(args, surroundings);
    runs.push(running);
    return running;
  }

  function send({ id = "", change }: Step): Promise<Running> {
    const { key, data } = { ...notifications[id], ...change };
    return run(["send", userId, idOf(id), key ?? "", data ?? ""], admin);
  }

  async function finishSend(sending: Running, { id = "", refused }: Step): Promise<void> {
    const line = await lineOf(sending);
    if (refused !== undefined) {
      const { errCode, errMsg, field = "" } = refused;
      return expectLine(line, ["error", String(errCode), errMsg, field]);
    }
    expectLine(line, ["sent", idOf(id), sent.get(id)]);
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
      ...{ sendUserID: "imAdmin", recvUserID: userId, clientMsgID: idOf(id), ...notifications[id] },
      ...more,
    });

  async function expectArrival(expected: string): Promise<void> {
    if (receiver === undefined) throw new Error("nothing receives");
    const line = await lineOf(receiver);
    const [kind = "", ...rest] = expected.split(" ");
    const id = rest.join(" ");
    const words: Readonly<Record<string, readonly (string | undefined)[]>> = {
      notification: [kind, undefined, idOf(id), notifications[id]?.key, notifications[id]?.data],
      push: [kind, "0", idOf(id), notifications[id]?.key, notifications[id]?.data],
      recall: [kind, undefined, idOf(id)],
      settled: [kind, undefined, idOf(id)],
      gap: [kind, undefined, id],
      ready: [kind, undefined],
    };
    expectLine(line, words[kind] ?? expected.split(" "));
  }

  /** How far a notification has come with the user. */
  async function status(id: string): Promise<unknown> {
    const { recipients } = await post("/msg/get_delivery_status", { clientMsgID: idOf(id) });
    return Array.isArray(recipients) ? recipients[0]?.state : undefined;
  }

  async function receive(): Promise<void> {
    receiver = await run(["receive"], user);
  }

  const acts: Readonly<Record<string, (step: Step) => unknown>> = {
    send: async (step) => finishSend(await send(step), step),
    "send again": async (step) => finishSend(await send(step), step),
    recall: ({ id }) => post("/msg/recall_business_notification", { clientMsgID: idOf(id ?? "") }),
    push: ({ id = "" }) => sendByRest(id, { reliabilityLevel: 1 }),
    async "receive with an expired token"() {
      const mint = createTokenMinter({ secret: testSecret, ttlMs: -60_000 });
      await give((await mint({ userId, platformId: 5 })).token);
      await receive();
    },
    "renew the token": async () => give(await stage.service().userToken(userId)),
    receive,
    "cut the connection": () => relay.cut(),
    async "send while the service restarts"(step) {
      const sending = await send(step);
      return () => finishSend(sending, step);
    },
    "restart with an empty store": () => {},
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
      await acknowledgeAt(url, await userToken(userId), idOf(id));
    },
    async "open another session of the device"() {
      const service = stage.service();
      const leaving = new AbortController();
      const headers = { token: await service.userToken(userId) };
      const query = `deviceID=${user.deviceId}`;
      await fetch(`${service.url}/events?${query}`, { headers, signal: leaving.signal });
    },
  };

  return {
    async begin(step) {
      const act = acts[step.do];
      if (act === undefined) throw new Error("no such step");
      const rest = await act(step);
      return async () => {
        if (typeof rest === "function") await rest();
        for (const expected of step.arrives ?? []) await expectArrival(expected);
      };
    },
    complaints: () => runs.map((running) => running.complaints).join(""),
    async end() {
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
