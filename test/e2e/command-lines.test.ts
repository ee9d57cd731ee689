import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const run = promisify(execFile);
const cwd = fileURLToPath(new URL("../..", import.meta.url));
const method = "mustreach.msg.v1.MsgService/SendBusinessNotification";
const notification = { sendUserID: "imAdmin", recvUserID: "alice", key: "order.paid", data: "{}", reliabilityLevel: 2 };
let token: string;

beforeAll(async () => {
  token = await server.adminToken();
});

/** What `buf curl` prints, of a call that goes well or fails. */
async function bufCurl(protocol: string, request: object, ...flags: string[]) {
  const schema = ["--schema", ".", "--protocol", protocol, ...flags];
  const args = ["curl", ...schema, "--header", `token: ${token}`, "--data", JSON.stringify(request)];
  const { stdout, stderr } = await run("buf", [...args, `${server.url}/${method}`], { cwd }).catch((error) => error);
  return JSON.parse(stdout || stderr);
}

test.each([
  ["grpc", ["--http2-prior-knowledge"]],
  ["grpcweb", ["--http2-prior-knowledge"]],
  ["connect", ["--http2-prior-knowledge"]],
  ["grpcweb", []],
  ["connect", []],
])("buf curl sends over %s %j, and is told what is wrong", async (protocol, flags) => {
  expect(await bufCurl(protocol, notification, ...flags)).toMatchObject({ durability: "DURABILITY_FSYNCED" });
  const { code, details } = await bufCurl(protocol, { ...notification, key: "" }, ...flags);
  expect(code).toBe("invalid_argument");
  const { value } = details.find(({ type }: { type: string }) => type === ErrorInfoSchema.typeName);
  expect(fromBinary(ErrorInfoSchema, Buffer.from(value, "base64"))).toMatchObject({ reason: "ARGS_ERROR" });
});

test.each(["--http1.1", "--http2-prior-knowledge"])("curl %s sends to the documented path", async (version) => {
  const fields = ["--header", `token: ${token}`, "--header", "operationID: curl"];
  const body = ["--data", JSON.stringify(notification)];
  const url = `${server.url}/msg/send_business_notification`;
  const { stdout } = await run("curl", ["--silent", "--show-error", version, ...fields, ...body, url]);
  expect(JSON.parse(stdout)).toMatchObject({ errCode: 0, data: { serverMsgID: expect.any(String) } });
});
