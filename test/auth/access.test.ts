import { create, createFileRegistry, hasOption } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { accessOf } from "../../src/auth/caller.ts";
import { access as accessOption } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { services } from "../../src/openapi/services.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const serviceOf = (name: string) => ({ name: "S", method: [{ name, inputType: ".M", outputType: ".M" }] });
const methods = services.flatMap((service) => service.methods.map((method) => ({ service, method })));

// Within the rights of the sender below.
const send = { sendUserId: "alice", recvUserId: "alice", key: "order.paid", data: "d" };
const group = { groupId: "crew" };
/** Requests that are answered 1001 when they are empty: a body that is wrong comes before who may not. */
const requests: Readonly<Record<string, object>> = {
  GetUserToken: { userId: "bob", platformId: 5 },
  ForceLogout: { userId: "bob", platformId: 5 },
  SendBusinessNotification: send,
  SendBusinessNotificationBatch: { notifications: [send] },
  GetDeliveryStatus: { clientMsgId: "unknown" },
  RecallBusinessNotification: { clientMsgId: "unknown" },
  CreateGroup: { ownerUserId: "bob", groupInfo: { ...group, groupName: "Crew", groupType: 2 } },
  DismissGroup: { groupId: "unknown" },
  AddMembers: { ...group, invitedUserIds: ["bob"] },
  RemoveMembers: { ...group, kickedUserIds: ["alice"] },
  ListMembers: group,
  TransferGroup: { ...group, oldOwnerUserId: "bob", newOwnerUserId: "alice" },
  GetGroups: { groupIds: ["crew"] },
  GetMembers: { ...group, userIds: ["alice"] },
  UserRegister: { users: [{ userId: "bob" }] },
  GetUsersOnlineStatus: { userIds: ["bob"] },
  GetAllConversations: { ownerUserId: "alice" },
  PullMsgBySeq: { userId: "alice" },
  GetConversationsHasReadAndMaxSeq: { userId: "alice" },
  ReplayDeadLetters: { all: true },
  PullReports: { afterSequence: 0n },
  WatchReports: {},
  Receive: { request: { case: "subscribe", value: {} } },
};

/** The requests of a stream of both directions. */
async function* oneOf(request: object) {
  yield request;
}

/** The code with which a method answers; 0 for a success. */
async function codeOf({ service, method }: (typeof methods)[number], token?: string): Promise<Code | 0> {
  const authenticate: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("token", token);
    return next(request);
  };
  const transport = createGrpcTransport({ baseUrl: server.url, interceptors: [authenticate] });
  const client = createClient(service, transport) as Record<string, (request: object) => unknown>;
  try {
    const request = requests[method.name] ?? {};
    const answer = client[method.localName]?.(method.methodKind === "bidi_streaming" ? oneOf(request) : request);
    if (method.methodKind === "unary") await answer;
    else await (answer as AsyncIterable<unknown>)[Symbol.asyncIterator]().next();
    return 0;
  } catch (error) {
    return ConnectError.from(error).code;
  }
}

test("each method says in the proto who may call it; one that does not is for admins", () => {
  expect(methods.filter(({ method }) => !hasOption(method, accessOption))).toEqual([]);
  const [unsaid] =
    createFileRegistry(
      create(FileDescriptorSetSchema, {
        file: [{ name: "a.proto", syntax: "proto3", messageType: [{ name: "M" }], service: [serviceOf("Unsaid")] }],
      }),
    ).getService("S")?.methods ?? [];
  expect(unsaid && accessOf(unsaid)).toEqual({ adminsOnly: "only an admin token may call this", sendersToo: false });
});

test.each(methods.map((one) => [`${one.service.typeName}/${one.method.name}`, one] as const))(
  "%s is for whom the table says",
  async (_, one) => {
    const access = accessOf(one.method);
    expect((await codeOf(one)) === Code.Unauthenticated).toBe(access !== "anybody");
    const asUser = await codeOf(one, await server.userToken("alice"));
    expect(asUser === Code.PermissionDenied).toBe(typeof access !== "string");
    const { token } = await server.mint({ userId: "alice", platformId: 5, sender: { keys: ["order."] } });
    const asSender = await codeOf(one, token);
    expect(asSender === Code.PermissionDenied).toBe(typeof access !== "string" && !access.sendersToo);
    const asAdmin = await codeOf(one, await server.adminToken());
    expect([Code.Unauthenticated, Code.PermissionDenied]).not.toContain(asAdmin);
  },
);
