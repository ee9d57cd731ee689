import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import {
  type ErrorName,
  errorTable,
  failure,
  retryAfterMsOf,
  toErrorFacts,
  toProtoName,
  toWireError,
} from "../src/errors.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.ts";
import { AuthService } from "../src/gen/mustreach/auth/v1/auth_pb.ts";
import { DeadLetterService } from "../src/gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { DeliveryService } from "../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../src/gen/mustreach/directory/v1/directory_pb.ts";
import { MsgService } from "../src/gen/mustreach/msg/v1/msg_pb.ts";
import { OpenimService } from "../src/gen/mustreach/openim/v1/openim_pb.ts";

/** OpenIM's names and codes (tools/errs/predefine.go, servererrs/code.go), and the gRPC code that fits each. */
const openIm: [name: ErrorName, errCode: number, code: Code, reason: string][] = [
  ["ServerInternalError", 500, Code.Internal, "SERVER_INTERNAL_ERROR"],
  ["ArgsError", 1001, Code.InvalidArgument, "ARGS_ERROR"],
  ["NoPermissionError", 1002, Code.PermissionDenied, "NO_PERMISSION_ERROR"],
  ["DuplicateKeyError", 1003, Code.AlreadyExists, "DUPLICATE_KEY_ERROR"],
  ["RecordNotFoundError", 1004, Code.NotFound, "RECORD_NOT_FOUND_ERROR"],
  ["GroupIDExisted", 1202, Code.AlreadyExists, "GROUP_ID_EXISTED"],
  ["NotInGroupYetError", 1203, Code.FailedPrecondition, "NOT_IN_GROUP_YET_ERROR"],
  ["DismissedAlreadyError", 1204, Code.FailedPrecondition, "DISMISSED_ALREADY_ERROR"],
  ["TokenExpiredError", 1501, Code.Unauthenticated, "TOKEN_EXPIRED_ERROR"],
  ["TokenInvalidError", 1502, Code.Unauthenticated, "TOKEN_INVALID_ERROR"],
  ["TokenMalformedError", 1503, Code.Unauthenticated, "TOKEN_MALFORMED_ERROR"],
  ["TokenNotValidYetError", 1504, Code.Unauthenticated, "TOKEN_NOT_VALID_YET_ERROR"],
  ["TokenUnknownError", 1505, Code.Unauthenticated, "TOKEN_UNKNOWN_ERROR"],
  ["TokenKickedError", 1506, Code.Unauthenticated, "TOKEN_KICKED_ERROR"],
  ["TokenNotExistError", 1507, Code.Unauthenticated, "TOKEN_NOT_EXIST_ERROR"],
  ["ConnOverMaxNumLimit", 1601, Code.ResourceExhausted, "CONN_OVER_MAX_NUM_LIMIT"],
  ["TooManyRequestsError", 429, Code.ResourceExhausted, "TOO_MANY_REQUESTS_ERROR"],
  ["NetworkError", 90004, Code.Unavailable, "NETWORK_ERROR"],
  ["StoreFullError", 90101, Code.ResourceExhausted, "STORE_FULL_ERROR"],
  ["BrokerRefusedError", 90102, Code.Internal, "BROKER_REFUSED_ERROR"],
  ["ServerStoppingError", 90103, Code.Unavailable, "SERVER_STOPPING_ERROR"],
  ["IdentityProviderError", 90104, Code.Unavailable, "IDENTITY_PROVIDER_ERROR"],
];

test("the table has OpenIM's errors, each code once", () => {
  expect(Object.keys(errorTable).toSorted()).toEqual(openIm.map(([name]) => name).toSorted());
  expect(new Set(Object.values(errorTable).map(({ errCode }) => errCode)).size).toBe(openIm.length);
});

test("the documentation has each code, with its gRPC code and whether to try again", () => {
  const documented = readFileSync(new URL("../docs/operating.md", import.meta.url), "utf8");
  const rows = [...documented.matchAll(/^\| (\d+) \| `(\w+)` \| .* \| (no|after [\d.]+ s) \| (\w+) \|$/gm)];
  const expected = Object.entries(errorTable).map(([name, row]) => {
    const again = "retryAfterMs" in row ? `after ${row.retryAfterMs / 1_000} s` : "no";
    const code = Code[row.code].replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase();
    return [String(row.errCode), name, again, code].join();
  });
  expect(rows.map(([, ...cells]) => cells.join()).toSorted()).toEqual(expected.toSorted());
});

test.each(openIm)(
  "%s is %i for REST, and its gRPC code with an ErrorInfo for RPC callers",
  (name, errCode, code, reason) => {
    const error = failure(name, "what was wrong");
    expect(error.code).toBe(code);
    expect(toErrorFacts(error)).toEqual({ errCode, errMsg: name, errDlt: "what was wrong" });
    expect(error.findDetails(ErrorInfoSchema)).toEqual([
      create(ErrorInfoSchema, {
        reason,
        domain: "mustreach",
        metadata: { errCode: String(errCode), errMsg: name, errDlt: "what was wrong" },
      }),
    ]);
  },
);

test.each([
  ["NetworkError", 1_000],
  ["ServerStoppingError", 500],
  ["IdentityProviderError", 5_000],
  ["TooManyRequestsError", 1_000],
  ["ConnOverMaxNumLimit", 5_000],
  ["StoreFullError", undefined],
  ["BrokerRefusedError", undefined],
  ["ArgsError", undefined],
  ["ServerInternalError", undefined],
] as const)("%s says whether to try again: %s", (name, retryAfterMs) => {
  const error = failure(name, "no");
  expect(retryAfterMsOf(error)).toBe(retryAfterMs);
  expect(error.findDetails(RetryInfoSchema)).toHaveLength(retryAfterMs === undefined ? 0 : 1);
});

test("a wait of its own goes before that of the table", () => {
  const error = failure("TooManyRequestsError", "slow down", undefined, { retryAfterMs: 2_345 });
  expect(retryAfterMsOf(error)).toBe(2_345);
  expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 2n, nanos: 345_000_000 } }]);
});

test("a bad argument names its field in a google.rpc.BadRequest", () => {
  const error = failure("ArgsError", "key must not be empty", undefined, { field: "key" });
  expect(error.findDetails(BadRequestSchema)).toMatchObject([
    { fieldViolations: [{ field: "key", description: "key must not be empty" }] },
  ]);
  expect(failure("ArgsError", "no").findDetails(BadRequestSchema)).toEqual([]);
});

test("and by its name in the proto, whatever the field", () => {
  const requests = [MsgService, DeliveryService, AuthService, GroupService, DeadLetterService, OpenimService].flatMap(
    ({ methods }) => methods.map(({ input }) => input),
  );
  const seen = new Set(requests);
  // What is added on the way is visited too.
  for (const { fields } of seen) for (const { message } of fields) if (message !== undefined) seen.add(message);
  const names = [...seen].flatMap(({ fields }) => fields.map(({ name, jsonName }) => ({ name, jsonName })));
  expect(names.length).toBeGreaterThan(100);
  for (const { name, jsonName } of names) expect(toProtoName(jsonName)).toBe(name);
  const error = failure("ArgsError", "no", undefined, { field: "pagination.showNumber" });
  expect(error.findDetails(BadRequestSchema)).toMatchObject([
    { fieldViolations: [{ field: "pagination.show_number" }] },
  ]);
});

test("the message of an RPC error names the error and says what was wrong", () => {
  expect(failure("ArgsError", "key is missing").rawMessage).toBe("ArgsError: key is missing");
});

test("the cause is kept for the log and is in nothing that is sent", () => {
  const cause = new Error("password=hunter2");
  const error = failure("NetworkError", "the broker cannot be reached", cause);
  expect(error.cause).toBe(cause);
  expect(`${error.message} ${JSON.stringify(error.findDetails(ErrorInfoSchema))}`).not.toContain("hunter2");
  expect(JSON.stringify(toErrorFacts(error))).not.toContain("hunter2");
});

const internal = { errCode: 500, errMsg: "ServerInternalError", errDlt: "internal error" };

describe("what failure() did not make", () => {
  test.each([
    ["an Error", new Error("secret inside")],
    ["a TypeError", new TypeError("secret inside")],
    ["a text", "secret inside"],
    ["undefined", undefined],
    ["null", null],
    ["an object that looks like facts", { errCode: 0, errMsg: "", errDlt: "secret inside" }],
    ["Connect's own internal error", new ConnectError("secret inside", Code.Internal)],
    ["Connect's unknown error", new ConnectError("secret inside", Code.Unknown)],
  ])("%s is an internal error that says nothing of the inside", (_, thrown) => {
    expect(toErrorFacts(thrown)).toEqual(internal);
  });

  test.each([Code.InvalidArgument, Code.ResourceExhausted, Code.OutOfRange])(
    "a mistake of the caller at protocol level (code %i) is 1001 and says which",
    (code) => {
      const facts = toErrorFacts(new ConnectError("message is larger than 10 bytes", code));
      expect(facts).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: "message is larger than 10 bytes" });
    },
  );

  test.each([Code.Unavailable, Code.DeadlineExceeded, Code.Canceled])("a broken wire (code %i) is 90004", (code) => {
    expect(toErrorFacts(new ConnectError("gone", code))).toMatchObject({ errCode: 90004, errMsg: "NetworkError" });
  });

  test("an ErrorInfo of somebody else is not taken for ours", () => {
    const theirs = {
      desc: ErrorInfoSchema,
      value: { reason: "QUOTA", domain: "example.com", metadata: { limit: "1" } },
    };
    const facts = toErrorFacts(new ConnectError("too many", Code.ResourceExhausted, undefined, [theirs]));
    expect(facts).toMatchObject({ errCode: 1001, errMsg: "ArgsError" });
  });
});

describe("toWireError", () => {
  test("leaves what failure() or Connect made as it is", () => {
    for (const error of [failure("ArgsError", "no"), new ConnectError("no", Code.Canceled)]) {
      expect(toWireError(error)).toBe(error);
    }
  });

  test("makes anything else an internal error with its facts, and keeps the original for the log", () => {
    const thrown = new RangeError("secret inside");
    const error = toWireError(thrown);
    expect(error.code).toBe(Code.Internal);
    expect(error.cause).toBe(thrown);
    expect(toErrorFacts(error)).toEqual(internal);
    expect(error.findDetails(ErrorInfoSchema)).toHaveLength(1);
    expect(error.message).not.toContain("secret");
  });
});
