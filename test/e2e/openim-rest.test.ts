// The REST calls that OpenIM's SDKs make after a login.

import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { GetActiveConversationsRequestSchema } from "../../src/gen/mustreach/openim/v1/openim_pb.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();

const success = { errCode: 0, errMsg: "", errDlt: "" };

describe("a user's", () => {
  test.each([
    ["/friend/get_incremental_friends", { version: 0, full: false }],
    ["/friend/get_full_friend_user_ids", { userIDs: [] }],
    ["/friend/get_black_list", { total: 0 }],
    ["/group/get_incremental_join_groups", { version: 0, full: false }],
    ["/group/get_full_join_group_ids", { groupIDs: [] }],
    ["/conversation/get_incremental_conversations", { version: 0, full: false }],
    ["/conversation/get_not_notify_conversation_ids", { conversationIDs: [] }],
  ])("%s has nothing, and says so", async (path, data) => {
    const body = {
      userID: "alice",
      versionID: "",
      version: 0,
      idHash: 0,
      pagination: { pageNumber: 1, showNumber: 200 },
    };
    const { status, json } = await server.post(path, body, await server.userToken("alice"));
    expect({ status, json }).toEqual({ status: 200, json: { ...success, data } });
    expect((await server.post(path, body)).json).toMatchObject({ errCode: 1001, errDlt: "header must have token" });
  });
});

describe("/user/get_users_info", () => {
  const ask = async (userIDs: unknown) =>
    (await server.post("/user/get_users_info", { userIDs }, await server.userToken("alice"))).json;

  test("has an entry for each", async () => {
    const zeros = { createTime: 0, appMangerLevel: 0, globalRecvMsgOpt: 0 };
    const entry = (userID: string) => ({ userID, nickname: userID, faceURL: "", ex: "", ...zeros });
    expect(await ask(["alice", "爱丽丝"])).toEqual({
      ...success,
      data: { usersInfo: [entry("alice"), entry("爱丽丝")] },
    });
    expect(await ask([])).toEqual({ ...success, data: { usersInfo: [] } });
  });

  test("refuses what is no user id, and more than a thousand", async () => {
    expect(await ask(["a\0b"])).toMatchObject({ errCode: 1001 });
    expect(await ask(Array.from({ length: 1_001 }, () => "a"))).toMatchObject({ errCode: 1001 });
    expect(await ask(Array.from({ length: 1_000 }, () => "a"))).toMatchObject({ errCode: 0 });
  });
});

describe("/jssdk/get_active_conversations", () => {
  const ask = async (body: string | Uint8Array<ArrayBuffer>, type: string) => {
    const headers = { operationID: "op", token: await server.userToken("alice"), "content-type": type };
    const response = await fetch(`${server.url}/jssdk/get_active_conversations`, { method: "POST", headers, body });
    return response.json();
  };

  test("takes protobuf, as the JavaScript SDK sends it, and JSON", async () => {
    const message = create(GetActiveConversationsRequestSchema, { ownerUserId: "alice", count: 20n });
    const bytes = new Uint8Array(toBinary(GetActiveConversationsRequestSchema, message));
    expect(await ask(bytes, "application/x-protobuf")).toEqual(success);
    expect(await ask('{"ownerUserID":"alice","count":20}', "application/json")).toEqual(success);
  });

  test("refuses what is no message", async () => {
    expect(await ask(new Uint8Array([255]), "application/x-protobuf")).toMatchObject({ errCode: 1001 });
  });
});
