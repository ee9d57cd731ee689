import { setTimeout as delay } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import {
  BidiStreamRequestSchema,
  ConformancePayload_RequestInfoSchema,
  type ConformancePayloadSchema,
  type ConformanceService,
  type Header,
  IdempotentUnaryRequestSchema,
  ServerStreamRequestSchema,
  type StreamResponseDefinition,
  type UnaryRequest,
  UnaryRequestSchema,
  type Error as WantedError,
} from "./gen/connectrpc/conformance/v1/service_pb.ts";

type Payload = MessageInitShape<typeof ConformancePayloadSchema>;

/** What is to be answered: the first request of a call says it. */
type Wanted = Pick<StreamResponseDefinition, "responseHeaders" | "responseTrailers" | "responseDelayMs"> | undefined;

/** The service that the suite calls, as its service.proto says; but for streams of the caller's, which we have none of. */
export const conformance: Partial<ServiceImpl<typeof ConformanceService>> = {
  unary: (request, context) => answer(request.responseDefinition, anyPack(UnaryRequestSchema, request), context),

  idempotentUnary: (request, context) =>
    answer(request.responseDefinition, anyPack(IdempotentUnaryRequestSchema, request), context),

  async *serverStream({ responseDefinition: wanted, ...request }, context) {
    const requests = [
      anyPack(ServerStreamRequestSchema, { ...request, ...(wanted && { responseDefinition: wanted }) }),
    ];
    setMetadata(wanted, context);
    yield* answerAll(wanted, wanted?.responseData ?? [], toInfo(requests, context), context);
    if (wanted?.error) throw toError(wanted.error, wanted.responseData.length === 0 && toInfo(requests, context));
  },

  async *bidiStream(requests, context) {
    let wanted: StreamResponseDefinition | undefined;
    let isFullDuplex: boolean | undefined;
    let sent = 0;
    let seen: Any[] = [];
    for await (const request of requests) {
      if (isFullDuplex === undefined) {
        wanted = request.responseDefinition;
        isFullDuplex = request.fullDuplex;
        setMetadata(wanted, context);
      }
      seen.push(anyPack(BidiStreamRequestSchema, request));
      if (!isFullDuplex) continue;
      const data = wanted?.responseData[sent];
      if (data === undefined) break;
      await wait(wanted, context);
      yield { payload: { data, requestInfo: sent === 0 ? toInfo(seen, context) : { requests: seen } } };
      sent++;
      seen = [];
    }
    const rest = wanted?.responseData.slice(sent) ?? [];
    yield* answerAll(wanted, rest, sent === 0 ? toInfo(seen, context) : undefined, context);
    const isImmediate = sent + rest.length === 0;
    if (wanted?.error) throw toError(wanted.error, isImmediate && toInfo(seen, context));
  },
};

async function answer(wanted: UnaryRequest["responseDefinition"], request: Any, context: HandlerContext) {
  const requestInfo = toInfo([request], context);
  setMetadata(wanted, context);
  await wait(wanted, context);
  const { response } = wanted ?? {};
  if (response?.case === "error") throw toError(response.value, requestInfo);
  return { payload: { requestInfo, ...(response?.case === "responseData" && { data: response.value }) } };
}

/** Answers of a stream; the first one with what has come. */
async function* answerAll(
  wanted: Wanted,
  answers: readonly Uint8Array[],
  requestInfo: Payload["requestInfo"],
  context: HandlerContext,
) {
  let isFirst = true;
  for (const data of answers) {
    await wait(wanted, context);
    yield { payload: { data, ...(isFirst && requestInfo && { requestInfo }) } };
    isFirst = false;
  }
}

async function wait(wanted: Wanted, { signal }: HandlerContext): Promise<void> {
  if (wanted === undefined || wanted.responseDelayMs === 0) return;
  await delay(wanted.responseDelayMs, undefined, { signal }).catch(() => {
    throw signal.reason;
  });
}

function setMetadata(wanted: Wanted, { responseHeader, responseTrailer }: HandlerContext): void {
  for (const { name, value } of wanted?.responseHeaders ?? [])
    for (const one of value) responseHeader.append(name, one);
  for (const { name, value } of wanted?.responseTrailers ?? []) {
    for (const one of value) responseTrailer.append(name, one);
  }
}

function toInfo(requests: Any[], context: HandlerContext) {
  const timeoutMs = context.timeoutMs();
  return create(ConformancePayload_RequestInfoSchema, {
    requests,
    requestHeaders: toFields(context.requestHeader),
    ...(timeoutMs !== undefined && { timeoutMs: BigInt(Math.round(timeoutMs)) }),
    ...(context.requestMethod === "GET" && {
      connectGetInfo: { queryParams: toFields(new URL(context.url).searchParams) },
    }),
  });
}

function toFields(pairs: Iterable<[string, string]>): Pick<Header, "name" | "value">[] {
  return [...pairs].map(([name, value]) => ({ name, value: [value] }));
}

function toError({ code, message, details }: WantedError, requestInfo: Payload["requestInfo"] | false): ConnectError {
  // The numbers are those of gRPC here and there.
  const error = new ConnectError(message ?? "", code as number);
  error.details.push(...details.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/^.*\//, ""), value })));
  if (requestInfo) error.details.push({ desc: ConformancePayload_RequestInfoSchema, value: requestInfo });
  return error;
}
