import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished, test, vi } from "vitest";
import { accessOf } from "../../src/auth/caller.ts";
import { services } from "../../src/openapi/services.ts";
import { startTestServer, testSecret, useServer } from "../helpers/server.ts";

const server = useServer({ AUDIT: "on", LOG_LEVEL: "debug" });
const methods = services
  .flatMap((service) => service.methods.map((method) => ({ service, method })))
  .filter(({ method }) => method.methodKind === "unary" || method.methodKind === "server_streaming");

test.each(methods.map((one) => [`${one.service.typeName}/${one.method.name}`, one] as const))(
  "%s is told if it is for admins, also when it is refused, and once",
  async (rpc, { service, method }) => {
    const operationid = `audit ${rpc}`;
    const token = await server.userToken("mallory");
    const authenticate: Interceptor = (next) => (request) => {
      request.header.set("token", token);
      request.header.set("operationid", operationid);
      return next(request);
    };
    const transport = createGrpcTransport({ baseUrl: server.url, interceptors: [authenticate] });
    const client = createClient(service, transport) as Record<string, (request: object) => unknown>;
    const answer = client[method.localName]?.({});
    if (method.methodKind === "unary") await (answer as Promise<unknown>).catch(() => {});
    else
      await (answer as AsyncIterable<unknown>)
        [Symbol.asyncIterator]()
        .next()
        .catch(() => {});
    const lines = server.log.filter((line) => line.audit === true && line.operationID === operationid);
    const isTold = typeof accessOf(method) !== "string" || method.name === "GetAdminToken";
    expect(lines).toHaveLength(isTold ? 1 : 0);
    if (!isTold) return;
    expect(lines[0]).toMatchObject({
      rpc,
      time: expect.any(String),
      errCode: expect.any(Number),
      peer: expect.any(String),
    });
    expect(lines[0]?.errCode).not.toBe(0);
    if (typeof accessOf(method) !== "string") expect(lines[0]).toMatchObject({ by: "mallory", role: "user" });
  },
);

test("a line says who did what about which ids, and never tells data, tokens or secrets", async () => {
  const token = await server.adminToken();
  const data = "confidential payload 日";
  const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "order.paid", data, clientMsgID: "order-7" };
  await server.post("/msg/send_business_notification", send, token, { operationID: "told send" });
  const notifications = Array.from({ length: 30 }, (_, i) => ({ ...send, clientMsgID: "", recvUserID: `user-${i}` }));
  await server.post("/msg/batch_send_business_notification", { notifications }, token, { operationID: "told batch" });
  const body = { secret: testSecret, userID: "imAdmin" };
  const minted = await server.post("/auth/get_admin_token", body, undefined, { operationID: "told mint" });
  const sender = await server.mint({ userId: "orders", platformId: 5, sender: { keys: ["bill."] } });
  await server.post("/msg/send_business_notification", { ...send, sendUserID: "orders" }, sender.token, {
    operationID: "told sender",
  });

  const lineOf = (operationID: string) =>
    server.log.find((line) => line.audit === true && line.operationID === operationID);
  await vi.waitFor(() => expect(lineOf("told sender")).toBeDefined());
  expect(lineOf("told send")).toMatchObject({
    by: "imAdmin",
    role: "admin",
    about: { sendUserID: ["imAdmin"], recvUserID: ["alice"], key: ["order.paid"], clientMsgID: ["order-7"] },
    dataBytes: Buffer.byteLength(data),
    errCode: 0,
  });
  const batch = lineOf("told batch") as { about: { recvUserID: string[] }; dataBytes: number };
  expect(batch.about.recvUserID).toHaveLength(21);
  expect(batch.about.recvUserID.at(-1)).toBe("…");
  expect(batch.dataBytes).toBe(30 * Buffer.byteLength(data));
  expect(lineOf("told mint")).toMatchObject({ about: { userID: ["imAdmin"] }, errCode: 0 });
  expect(lineOf("told sender")).toMatchObject({ by: "orders", role: "sender", errCode: 1002 });
  const told = JSON.stringify(server.log.filter((line) => line.audit === true));
  for (const hidden of ["confidential", testSecret, token, sender.token, String(minted.json.data?.token)]) {
    expect(told).not.toContain(hidden);
  }
});

test("the lines go to a file of their own, for its owner only, and are off by default", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-audit-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, "audit.log");
  for (const settings of [{ AUDIT: path }, {}]) {
    const own = await startTestServer(settings);
    onTestFinished(() => own.stop());
    await own.post("/group/get_groups_info", { groupIDs: ["crew"] }, await own.adminToken());
    expect(own.log.filter((line) => line.audit === true)).toEqual([]);
  }
  const lines = async () => (await readFile(path, "utf8")).trim().split("\n").filter(Boolean);
  await vi.waitFor(async () => expect(await lines()).toHaveLength(1), { interval: 50, timeout: 10_000 });
  expect(JSON.parse((await lines())[0] ?? "")).toMatchObject({
    audit: true,
    by: "imAdmin",
    about: { groupIDs: ["crew"] },
  });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await expect(startTestServer({ AUDIT: join(dir, "none", "audit.log") })).rejects.toThrow(/^MUSTREACH_AUDIT: /);
});
