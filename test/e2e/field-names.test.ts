import { describe, expect, onTestFinished, test, vi } from "vitest";
import { startTestServer, useServer } from "../helpers/server.ts";

const server = useServer({ ACCESS_LOG: "all" });
const path = "/msg/send_business_notification";
const body = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d" };

describe("a must-reach send is one", () => {
  test.each([
    ["in PascalCase", { SendUserID: "imAdmin", RecvUserID: "alice", Key: "k", Data: "d", ReliabilityLevel: 2 }],
    ["in lower case", { senduserid: "imAdmin", recvuserid: "alice", key: "k", data: "d", reliabilitylevel: 2 }],
    ["in a mixture", { SENDUSERID: "imAdmin", recvUserId: "alice", key: "k", data: "d", reliabilityLevel: 2 }],
  ])("%s", async (_, json) => {
    const response = await server.post(path, json, await server.adminToken());
    expect(response).toMatchObject({ status: 200, json: { errCode: 0 } });
    expect(response.headers.get("mustreach-durability")).toBe("FSYNCED");
    expect(response.headers.has("mustreach-unknown-fields")).toBe(false);
  });

  test("or the answer and the log name what was not understood", async () => {
    const headers = { operationID: "mistyped" };
    const response = await server.post(path, { ...body, reliabiltyLevel: 2 }, await server.adminToken(), headers);
    expect(response).toMatchObject({ status: 200, json: { errCode: 0 } });
    expect(response.headers.get("mustreach-unknown-fields")).toBe("reliabiltyLevel");
    await vi.waitFor(() =>
      expect(server.log.find(({ operationID }) => operationID === "mistyped")).toMatchObject({
        msg: "call answered",
        unknownFields: ["reliabiltyLevel"],
      }),
    );
  });

  test("or nothing, with MUSTREACH_STRICT_JSON", async () => {
    const strict = await startTestServer({ STRICT_JSON: "true" });
    onTestFinished(strict.stop);
    const admin = await strict.adminToken();
    expect(await strict.post(path, { ...body, reliabiltyLevel: 2 }, admin)).toMatchObject({
      status: 400,
      json: { errCode: 1001, errMsg: "ArgsError", errDlt: "unknown: reliabiltyLevel" },
    });
    expect(await strict.post(path, { ...body, ReliabilityLevel: 2 }, admin)).toMatchObject({ json: { errCode: 0 } });
  });
});

describe("a body that does not bind is HTTP 400 where OpenIM binds with BindJSON", () => {
  test.each([path, "/msg/batch_send_business_notification"])("%s", async (at) => {
    const response = await fetch(`${server.url}${at}`, {
      method: "POST",
      headers: { operationID: "1", token: await server.adminToken() },
      body: "{",
    });
    expect([response.status, await response.json()]).toMatchObject([400, { errCode: 1001 }]);
  });
});

describe("and HTTP 200 with 1001 elsewhere", () => {
  test.each([
    "/auth/get_user_token",
    "/group/create_group",
    "/group/dismiss_group",
    "/group/invite_user_to_group",
    "/group/kick_group",
    "/group/get_group_member_list",
    "/group/get_joined_group_list",
    "/msg/pull_messages",
    "/msg/recall_business_notification",
    "/msg/get_delivery_status",
    "/msg/mark_as_read",
    "/msg/get_conversations",
    "/delivery/list_dead_letters",
  ])("%s", async (at) => {
    for (const wrong of ["{", "[]", '"x"', Buffer.from([0x22, 0xff, 0x22])]) {
      const response = await fetch(`${server.url}${at}`, {
        method: "POST",
        headers: { operationID: "1", token: await server.adminToken() },
        body: wrong,
      });
      expect([response.status, await response.json()]).toMatchObject([200, { errCode: 1001, errMsg: "ArgsError" }]);
    }
  });
});
