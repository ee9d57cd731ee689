import { JetStreamApiError } from "@nats-io/jetstream";
import {
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  InvalidArgumentError,
  NoRespondersError,
  PermissionViolationError,
  RequestError,
  TimeoutError,
} from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { judge, type Refusal, toRefusal } from "../../src/broker/faults.ts";
import { type ErrorName, errorTable, failure, toErrorFacts } from "../../src/errors.ts";

const api = (err_code: number, description: string) => new JetStreamApiError({ code: 503, err_code, description });
const forbidden = new PermissionViolationError('Permissions Violation for Publish to "x"', "publish", "x");

test.each<[what: string, error: unknown, kind: string, name: ErrorName]>([
  ["a timeout", new TimeoutError(), "retry", "NetworkError"],
  ["no responders", new RequestError("", { cause: new NoRespondersError("x") }), "retry", "NetworkError"],
  ["a lost connection", new ConnectionError("lost"), "retry", "NetworkError"],
  ["a cluster without a leader", api(10008, "JetStream system temporarily unavailable"), "retry", "NetworkError"],
  ["a read that was not answered", failure("NetworkError", "away"), "retry", "NetworkError"],
  ["a full stream", api(10077, "maximum bytes exceeded"), "permanent", "StoreFullError"],
  ["a full server", api(10023, "insufficient resources"), "permanent", "StoreFullError"],
  ["a full account", api(10002, "resource limits exceeded for account"), "permanent", "StoreFullError"],
  ["a full disk", api(10047, "insufficient storage resources available"), "permanent", "StoreFullError"],
  [
    "too large for the client",
    InvalidArgumentError.format("payload", "max_payload size exceeded"),
    "permanent",
    "ArgsError",
  ],
  ["too large for the stream", api(10054, "message size exceeds maximum allowed"), "permanent", "ArgsError"],
  ["no permission", forbidden, "permanent", "BrokerRefusedError"],
  ["no permission to ask", new RequestError("", { cause: forbidden }), "permanent", "BrokerRefusedError"],
  ["any other refusal", api(10058, "stream name already in use"), "permanent", "BrokerRefusedError"],
  ["a closed connection", new ClosedConnectionError(), "permanent", "ServerStoppingError"],
  ["a closing connection", new DrainingConnectionError(), "permanent", "ServerStoppingError"],
  ["an error of ours", failure("RecordNotFoundError", "no such group"), "permanent", "RecordNotFoundError"],
  ["a mistake of ours", new TypeError("x is undefined"), "unknown", "ServerInternalError"],
  ["a bad subject", new InvalidArgumentError("'subject' cannot be empty"), "unknown", "ServerInternalError"],
])("%s: %o is %s, %s", (_, error, kind, name) => {
  const fault = judge(error);
  expect(fault.kind).toBe(kind);
  expect(toErrorFacts(fault.failure)).toMatchObject({ errCode: errorTable[name].errCode, errMsg: name });
});

test.each<[Refusal, ErrorName]>([
  [{ errCode: 10077, reason: "maximum bytes exceeded" }, "StoreFullError"],
  [{ errCode: 10077, reason: "maximum messages per subject exceeded" }, "NetworkError"],
  [{ errCode: 10176, reason: "batch publish is incomplete" }, "NetworkError"],
  [{ errCode: 10077, reason: "something else" }, "BrokerRefusedError"],
])("a write refused with %o though its subject is free is %s", (refusal, name) => {
  expect(toErrorFacts(toRefusal(refusal)).errMsg).toBe(name);
});
