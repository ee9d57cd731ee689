import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type Device, type DeviceSession, dataOf, isIncreasing, openSender, useDevices } from "../helpers/device.ts";
import { whenGone } from "../helpers/process.ts";
import { type TestSettings, testSecret } from "../helpers/server.ts";
import { startWorkers, type WorkersService } from "../helpers/workers.ts";

vi.setConfig({ testTimeout: 120_000 });

const openDevice = useDevices();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(settings: TestSettings = {}): Promise<WorkersService> {
  const service = await startWorkers(settings);
  cleanups.push(service.remove);
  return service;
}

/** A REST call over a connection of its own, so that any worker may answer it. Rejects when it is cut off. */
async function post(service: WorkersService, path: string, body: object, token?: string) {
  const response = await fetch(`${service.url}${path}`, {
    method: "POST",
    headers: { operationID: "test", connection: "close", ...(token !== undefined && { token }) },
    body: JSON.stringify(body),
  });
  return { status: response.status, ...(await response.json()) } as { status: number; errCode: number };
}

const toSend = (to: string, data: string, clientMsgID = `${to}-${data}`) => ({
  ...{ sendUserID: "imAdmin", recvUserID: to, key: "test", data, reliabilityLevel: 2, clientMsgID },
});

/** A device that opens its session anew whenever it ends, and keeps what it was sent until it has `count`. */
async function receiveAll(service: WorkersService, userId: string, count: number): Promise<string[]> {
  const token = await service.userToken(userId);
  const received: string[] = [];
  let cursor = 0n;
  while (received.length < count) {
    const device = openDevice(service.url, token);
    try {
      const session = await device.subscribe();
      while (received.length < count) {
        const event = await session.next();
        if (event === undefined) break;
        if (event.case !== "notification" || event.value.sequence <= cursor) continue;
        cursor = event.value.sequence;
        received.push(event.value.data);
        await device.ack(cursor);
      }
    } catch {
      // Cut off: with the worker that it was connected to.
    }
    device.kill();
  }
  return received;
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => String(i));

describe("two workers", () => {
  test("answer on one port, and the operator's port adds up what both have done", async () => {
    const service = await start({ ACCESS_LOG: "all" });
    const token = await service.adminToken();
    expect(service.workers()).toHaveLength(2);
    const count = 60;
    for (const data of numbers(count)) {
      expect(await post(service, "/msg/send_business_notification", toSend("alice", data), token)).toMatchObject({
        errCode: 0,
      });
    }
    // Both were asked: a worker logs the calls that it answers.
    const answeredBy = (worker: number) =>
      service.log.filter((line) => line.worker === worker && line.rpc !== undefined).length;
    await vi.waitFor(async () => {
      const samples =
        'mustreach_rpc_duration_seconds_count{rpc="mustreach.msg.v1.MsgService/SendBusinessNotification",err_code="0"}';
      expect(await service.metric(samples)).toBe(count);
      expect(answeredBy(1) + answeredBy(2)).toBe(count);
    });
    expect(answeredBy(1)).toBeGreaterThan(0);
    expect(answeredBy(2)).toBeGreaterThan(0);

    const device = openDevice(service.url, await service.userToken("alice"));
    const session = await device.subscribe({ window: 1_000 });
    expect(dataOf(await session.take(count))).toEqual(numbers(count));
    await vi.waitFor(async () => expect(await service.metric("mustreach_sessions")).toBe(1));
    expect(await service.metric("mustreach_workers")).toBe(2);
    expect(await (await fetch(`${service.adminUrl}/readyz`)).json()).toMatchObject({ ready: true, problems: [] });
    expect(await (await fetch(`${service.adminUrl}/console/service.json`)).json()).toEqual({ api: service.url });
    expect(await service.kill("SIGTERM")).toBe(0);
  });

  test("a device that opens its session on another worker takes it over", async () => {
    const service = await start();
    const token = await service.userToken("bob");
    // Which worker takes a connection is the system's choice: after so many, both have.
    const devices: Device[] = numbers(12).map(() => openDevice(service.url, token));
    const sessions = [];
    for (const device of devices) sessions.push(await device.subscribe());
    const ends = await Promise.all(sessions.slice(0, -1).map((session) => session.whenEnded()));
    for (const end of ends) expect(end).toMatchObject({ errCode: 1506 });
    const workersOf = new Set(service.log.filter(({ msg }) => msg === "stream opened").map(({ worker }) => worker));
    expect(workersOf).toEqual(new Set([1, 2]));
    const send = openSender(service.url, await service.adminToken());
    await send({ to: "bob", data: "only once" });
    expect(dataOf((await sessions.at(-1)?.take(1)) ?? [])).toEqual(["only once"]);
    await vi.waitFor(async () => expect(await service.metric("mustreach_sessions")).toBe(1));
  });

  test("limits hold for all workers together, and a device that comes back is let in at the limit", async () => {
    const service = await start({ MAX_SESSIONS_PER_USER: "3", MAX_SESSIONS: "5" });
    const token = await service.userToken("carol");
    const open = async (deviceId: string, by = token) => openDevice(service.url, by, deviceId).subscribe();
    for (const deviceId of ["a", "b", "c"]) await open(deviceId);
    for (const deviceId of numbers(8)) {
      await expect(open(deviceId)).rejects.toThrow(/this user has the maximum of 3 sessions/);
    }
    await open("c");
    const other = await service.userToken("dave");
    for (const deviceId of ["a", "b"]) await open(deviceId, other);
    for (const deviceId of numbers(4)) {
      await expect(open(deviceId, await service.userToken("erin"))).rejects.toThrow(/its maximum of 5 sessions/);
    }

    // Ten wrong secrets from one address, whichever workers they are told to.
    const guess = () => post(service, "/auth/get_admin_token", { secret: "a wrong one", userID: "imAdmin" });
    const answers = [];
    for (let i = 0; i < 14; i++) answers.push((await guess()).errCode);
    expect(answers.filter((errCode) => errCode === 1002)).toHaveLength(10);
    expect(answers.filter((errCode) => errCode === 429)).toHaveLength(4);
  });

  test("SIGHUP puts a new secret in force in every worker", async () => {
    const dir = await mkdtemp(join(tmpdir(), "mustreach-secret-"));
    cleanups.push(() => rm(dir, { recursive: true, force: true }));
    const path = join(dir, "secret");
    await writeFile(path, testSecret);
    const service = await start({ TOKEN_SECRET: "", TOKEN_SECRET_FILE: path });
    const token = await service.adminToken();
    const ask = () => post(service, "/msg/send_business_notification", toSend("alice", "a"), token);
    expect(await ask()).toMatchObject({ errCode: 0 });
    await writeFile(path, "another-secret-of-at-least-32-bytes");
    process.kill(service.pid, "SIGHUP");
    await service.logged("reloaded");
    for (let i = 0; i < 12; i++) expect(await ask()).toMatchObject({ errCode: 1505 });
    // Also in one that is started later.
    process.kill(service.workers()[0] ?? 0, "SIGKILL");
    await service.logged("a worker accepts", 3);
    for (let i = 0; i < 12; i++) expect(await ask()).toMatchObject({ errCode: 1505 });
  });
});

describe("a worker", () => {
  test("that is killed loses nothing that was acknowledged; its receivers get everything from another", async () => {
    const service = await start();
    const token = await service.adminToken();
    const perUser = 60;
    const users = ["u1", "u2", "u3", "u4"];
    const received = users.map((userId) => receiveAll(service, userId, perUser));
    let sent = 0;
    const sending = users.map(async (userId) => {
      for (const data of numbers(perUser)) {
        // Cut off with its worker, it is sent again under the same id.
        while (
          (await post(service, "/msg/send_business_notification", toSend(userId, data), token).catch(
            () => undefined,
          )) === undefined
        );
        sent++;
      }
    });
    for (let kills = 1; kills <= 3; kills++) {
      await vi.waitFor(() => expect(sent).toBeGreaterThan(kills * 40));
      process.kill(service.workers()[kills % 2] ?? 0, "SIGKILL");
      await service.logged("a worker ended unexpectedly (signal SIGKILL): starting another", kills);
      await service.logged("a worker accepts", 2 + kills);
    }
    await Promise.all(sending);
    for (const got of await Promise.all(received)) expect(got).toEqual(numbers(perUser));
    expect(await service.metric('mustreach_workers_replaced_total{outcome="died"}')).toBe(3);
  });

  test("that is stuck is found, ended and replaced; what was sent meanwhile reaches, its own devices too", async () => {
    const service = await start();
    const openedBy = () => service.log.filter(({ msg }) => msg === "stream opened").map(({ worker }) => worker);
    const sessions: DeviceSession[] = [];
    const openSession = async (n: number) => openDevice(service.url, await service.userToken(`i${n}`)).subscribe();
    // Which worker takes a connection is the system's choice.
    while (new Set(openedBy()).size < 2) {
      sessions.push(await openSession(sessions.length));
      await vi.waitFor(() => expect(openedBy()).toHaveLength(sessions.length));
    }
    const homes = openedBy();
    const accepts = service.log.find(({ msg, worker }) => msg === "a worker accepts" && worker === homes[0]);
    const stuck = Number(accepts?.pid);
    process.kill(stuck, "SIGSTOP");
    const token = await service.adminToken();
    for (const n of sessions.keys()) {
      const sent = await post(service, "/msg/send_business_notification", toSend(`i${n}`, "meanwhile"), token);
      expect(sent).toMatchObject({ errCode: 0 });
    }
    const received = sessions.map(async (session, n) => {
      // Those of the other worker get it where they are.
      if (homes[n] !== homes[0]) return dataOf(await session.take(1));
      await session.whenEnded();
      return dataOf(await (await openSession(n)).takeUntilIdle());
    });
    await service.logged("a worker does not answer: ending it");
    await service.logged("a worker accepts", 3);
    expect(await Promise.all(received)).toEqual(sessions.map(() => ["meanwhile"]));
    expect(service.workers()).not.toContain(stuck);
    await whenGone(stuck);
    expect(await service.metric('mustreach_workers_replaced_total{outcome="stuck"}')).toBe(1);
  });

  test("that cannot accept ends the service with its reason", async () => {
    const holder = await start({ WORKERS: "1" });
    const port = new URL(holder.url).port;
    await expect(startWorkers({ PORT: port })).rejects.toThrow(/EADDRINUSE/);
  });
});

test("SIGUSR2 replaces the workers under load, and no send fails", async () => {
  const service = await start();
  const token = await service.adminToken();
  const before = service.workers();
  let isDone = false;
  let sent = 0;
  const received = receiveAll(service, "frank", 1);
  const load = ["g1", "g2", "g3", "g4"].map(async (userId) => {
    for (let i = 0; !isDone; i++) {
      // Nothing is tried again.
      const answer = await post(service, "/msg/send_business_notification", toSend(userId, String(i)), token);
      expect(answer).toMatchObject({ status: 200, errCode: 0 });
      sent++;
    }
  });
  // One worker goes, and the service stays: a probe that keeps its connection to the one that goes is told so.
  const probe = async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (; !isDone; await delay(20)) {
      expect(await statusOf(`${service.url}/readyz`, agent)).toBe(200);
      expect(await statusOf(`${service.adminUrl}/readyz`)).toBe(200);
    }
    agent.destroy();
  };
  const probes = numbers(4).map(probe);
  for (const rounds of [1, 2]) {
    process.kill(service.pid, "SIGUSR2");
    await service.logged("the workers are new", rounds);
    await vi.waitFor(() => expect(sent).toBeGreaterThan(rounds * 50));
  }
  isDone = true;
  await Promise.all([...load, ...probes]);
  await post(service, "/msg/send_business_notification", toSend("frank", "here"), token);
  expect(await received).toEqual(["here"]);
  expect(service.workers().filter((pid) => before.includes(pid))).toEqual([]);
  for (const pid of before) await whenGone(pid);
  const samples =
    'mustreach_rpc_duration_seconds_count{rpc="mustreach.msg.v1.MsgService/SendBusinessNotification",err_code="0"}';
  // What the old ones have counted is still counted.
  await vi.waitFor(async () => expect(await service.metric(samples)).toBe(sent + 1));
});

test("SIGTERM under load: what was acknowledged reaches after the next start", async () => {
  const service = await start();
  const token = await service.adminToken();
  const acknowledged: string[] = [];
  const load = numbers(4).map(async (lane) => {
    for (let i = 0; ; i++) {
      const data = `${lane}-${i}`;
      const answer = await post(service, "/msg/send_business_notification", toSend("heidi", data), token).catch(
        () => undefined,
      );
      if (answer === undefined) return;
      if (answer.errCode === 0) acknowledged.push(data);
      else return;
    }
  });
  await vi.waitFor(() => expect(acknowledged.length).toBeGreaterThan(40));
  expect(await service.kill("SIGTERM")).toBe(0);
  await Promise.all(load);
  for (const pid of service.workers()) await whenGone(pid);
  const next = await startWorkers({ WORKERS: "1" }, service.dataDir);
  cleanups.push(next.remove);
  const session = await openDevice(next.url, await next.userToken("heidi")).subscribe({ window: 1_000 });
  const got = await session.takeUntilIdle();
  expect(isIncreasing(got)).toBe(true);
  expect(dataOf(got)).toEqual(expect.arrayContaining(acknowledged));
});

test("the end of the primary, whatever it is, leaves no process behind, a stuck worker neither", async () => {
  const service = await start();
  const workers = service.workers();
  process.kill(workers[0] ?? 0, "SIGSTOP");
  expect(await service.kill("SIGKILL")).toBe("SIGKILL");
  for (const pid of [...workers, service.brokerPid ?? 0]) await whenGone(pid);
  // What is a zombie may still have threads that hold it.
  await vi.waitFor(async () => expect(await isListening(service.url)).toBe(false));
});

async function statusOf(url: string, agent?: http.Agent): Promise<number | undefined> {
  const [response] = (await once(http.get(url, { agent: agent ?? false }), "response")) as [http.IncomingMessage];
  response.resume();
  return response.statusCode;
}

function isListening(url: string): Promise<boolean> {
  const { port, hostname } = new URL(url);
  const socket = connect({ port: Number(port), host: hostname });
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once("connect", () => resolve(true));
  socket.on("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}
