import { createClient as createRpc } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { context, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  StackContextManager,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type BusinessNotification, createClient } from "../../src/client/index.ts";
import { GroupService } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { traceWith } from "../../src/tracing/tracer.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ ACCESS_LOG: "all" });
const traceId = "0af7651916cd43dd8448eb211c80319c";
const callerSpan = "b7ad6b7169203331";
const traceparent = `00-${traceId}-${callerSpan}-01`;
const soon = { timeout: 30_000, interval: 20 };

afterEach(() => {
  trace.disable();
  context.disable();
});

/** Has the spans of service and client kept. */
function keepSpans(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  onTestFinished(traceWith(provider));
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new StackContextManager().enable());
  return exporter;
}

interface SendOptions {
  readonly reliabilityLevel?: number;
  readonly recvGroupId?: string;
  readonly headers?: Record<string, string>;
}

async function send(recvUserId: string, options: SendOptions = {}): Promise<void> {
  const { reliabilityLevel = 2, recvGroupId = "", headers = { traceparent } } = options;
  const rpc = createRpc(MsgService, createGrpcTransport({ baseUrl: server.url }));
  const request = { sendUserId: "imAdmin", recvUserId, recvGroupId, key: "order.paid", data: "{}", reliabilityLevel };
  await rpc.sendBusinessNotification(request, { headers: { ...headers, token: await server.adminToken() } });
}

/** A device; what its callback got, and within which span. */
async function listen(userId: string) {
  const got: { notification: BusinessNotification; span: string | undefined }[] = [];
  const client = createClient({ baseUrl: server.url, token: await server.userToken(userId), deviceId: "phone" });
  client.onRecvCustomBusinessMessage((notification) => {
    got.push({ notification, span: trace.getActiveSpan()?.spanContext().spanId });
  });
  onTestFinished(() => client.close());
  await client.connect();
  return got;
}

describe("one trace goes from the caller's traceparent to the client's callback", () => {
  test.each([1, 2])("at level %i", async (reliabilityLevel) => {
    const exporter = keepSpans();
    const userId = `traced-${reliabilityLevel}`;
    const got = await listen(userId);
    await send(userId, { reliabilityLevel });
    await vi.waitFor(() => expect(got).toHaveLength(1), soon);
    const expected = reliabilityLevel === 2 ? ["send inbox", "deliver device"] : ["send inbox"];
    await vi.waitFor(() => expect(exporter.getFinishedSpans()).toHaveLength(expected.length + 1), soon);
    const spans = new Map(exporter.getFinishedSpans().map((span) => [span.name, span]));
    const [sent, processed] = [spans.get("send inbox"), spans.get("process order.paid")];
    for (const span of spans.values()) expect(span.spanContext().traceId, span.name).toBe(traceId);
    expect(sent?.parentSpanContext?.spanId).toBe(callerSpan);
    expect(sent?.attributes).toMatchObject({
      "messaging.system": "mustreach",
      "messaging.operation.type": "send",
      "rpc.system": "grpc",
      "rpc.service": "mustreach.msg.v1.MsgService",
      "rpc.method": "SendBusinessNotification",
    });
    for (const name of ["deliver device", "process order.paid"]) {
      const span = spans.get(name);
      if (span !== undefined) expect(span.parentSpanContext?.spanId, name).toBe(sent?.spanContext().spanId);
    }
    expect([...spans.keys()].toSorted()).toEqual([...expected, "process order.paid"].toSorted());
    // What the callback calls continues the trace.
    expect(got[0]?.span).toBe(processed?.spanContext().spanId);
  });

  test("also of a group", async () => {
    const exporter = keepSpans();
    const groups = createRpc(GroupService, createGrpcTransport({ baseUrl: server.url }));
    const group = { groupInfo: { groupId: "crew", groupType: 2 }, ownerUserId: "ann", memberUserIds: ["bob"] };
    await groups.createGroup(group, { headers: { token: await server.adminToken() } });
    const got = await listen("bob");
    await send("", { recvGroupId: "crew" });
    await vi.waitFor(() => expect(got).toHaveLength(1), soon);
    await vi.waitFor(() => {
      const names = exporter.getFinishedSpans().map(({ name }) => name);
      expect(names.toSorted()).toEqual(["deliver device", "process order.paid", "send inbox"]);
    }, soon);
    for (const span of exporter.getFinishedSpans()) expect(span.spanContext().traceId).toBe(traceId);
  });

  test("a send that is refused says why", async () => {
    const exporter = keepSpans();
    await expect(send("", {})).rejects.toThrow();
    const [span] = exporter.getFinishedSpans();
    expect(span?.attributes["error.type"]).toBe("ArgsError");
    expect(span?.status.code).toBe(2);
  });
});

describe("without spans", () => {
  test("the caller's traceparent arrives as it is, and joins the lines of the log", async () => {
    const got = await listen("plain");
    await send("plain");
    await vi.waitFor(() => expect(got[0]?.notification.traceparent).toBe(traceparent), soon);
    await vi.waitFor(() => {
      const line = server.log.findLast((one) => String(one.rpc).endsWith("/SendBusinessNotification"));
      expect(line).toMatchObject({ trace_id: traceId, operationID: expect.any(String) });
    }, soon);
  });

  test.each(["00-00000000000000000000000000000000-b7ad6b7169203331-01", "x".repeat(1_000), `${traceparent}-more`])(
    "what is no traceparent is ignored",
    async (wrong) => {
      const userId = `wrong-${wrong.length}`;
      const got = await listen(userId);
      await send(userId, { headers: { traceparent: wrong } });
      await vi.waitFor(() => expect(got[0]?.notification.traceparent).toBe(""), soon);
    },
  );
});
