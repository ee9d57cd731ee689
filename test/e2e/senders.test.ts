import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { testSecret, useServer } from "../helpers/server.ts";

const server = useServer();
const run = promisify(execFile);
const send = { sendUserID: "orders", recvUserID: "shop-1", key: "order.paid", data: "{}", reliabilityLevel: 2 };
const path = "/msg/send_business_notification";
const errCodeOf = async (body: object, token: string) => (await server.post(path, body, token)).json.errCode;

/** `mustreach token` as one calls it. */
async function mint(...args: string[]): Promise<string> {
  const env = { ...process.env, MUSTREACH_TOKEN_SECRET: testSecret };
  const { stdout } = await run(process.execPath, ["src/cli/main.ts", "token", ...args], { env });
  return stdout.trim();
}

test("a sender's token of the command line sends what it may, by single sends and batches", async () => {
  const token = await mint("--sender", "orders", "--keys", "order.", "--recipients", "shop-", "vip-");
  expect(await errCodeOf(send, token)).toBe(0);
  expect(await errCodeOf({ ...send, recvUserID: "", recvUserIDs: ["shop-1", "vip-1"] }, token)).toBe(0);
  expect((await server.post(path, { ...send, key: "alarm" }, token)).json).toMatchObject({
    errCode: 1002,
    errDlt: 'key "alarm" is not for this sender: the token allows what begins with "order."',
  });
  expect(await errCodeOf({ ...send, recvUserID: "alice" }, token)).toBe(1002);
  expect(await errCodeOf({ ...send, sendUserID: "imAdmin" }, token)).toBe(1002);
  // What is wrong with a body comes first.
  expect(await errCodeOf({ ...send, key: "" }, token)).toBe(1001);
  const notifications = [send, { ...send, key: "alarm" }, send];
  const batch = await server.post("/msg/batch_send_business_notification", { notifications }, token);
  const { results } = batch.json.data as { results: { errCode?: number }[] };
  expect(results.map(({ errCode = 0 }) => errCode)).toEqual([0, 1002, 0]);
  // A body of more than others may send.
  expect(await errCodeOf({ ...send, data: "x".repeat(100_000) }, token)).toBe(0);
});

test("its rate is answered 429 with when to try again", async () => {
  const token = await mint("--sender", "slow", "--per-minute", "1");
  const slow = { ...send, sendUserID: "slow" };
  expect(await errCodeOf(slow, token)).toBe(0);
  const refused = await server.post(path, slow, token);
  expect(refused).toMatchObject({ status: 429, json: { errCode: 429 } });
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
});

test("an admin's user with a sender's token is no admin, and a token with a claim of another form is none", async () => {
  const { token } = await server.mint({ userId: "imAdmin", platformId: 10, sender: { keys: ["order."] } });
  expect(await errCodeOf({ ...send, sendUserID: "imAdmin", key: "alarm" }, token)).toBe(1002);
  const status = await server.post("/msg/get_delivery_status", { clientMsgID: "unknown" }, token);
  expect(status.json).toMatchObject({ errCode: 1002 });
  const unusable = await server.mint({ userId: "imAdmin", platformId: 10, sender: { keys: [] } });
  expect(await errCodeOf(send, unusable.token)).toBe(1503);
});

test.each([
  ["--keys", "order."],
  ["--user", "a", "--sender", "b"],
  ["--sender", "b", "--per-minute", "1000001"],
])("token %s %s … is called wrongly", async (...args) => {
  await expect(mint(...args)).rejects.toMatchObject({ code: 2 });
});
