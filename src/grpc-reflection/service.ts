import type { DescFile, DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import type { ServerReflection as V1 } from "../gen/grpc/reflection/v1/reflection_pb.ts";
import type { ServerReflection as V1alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { answer, type Question } from "./answer.ts";
import { createDescriptors } from "./descriptors.ts";

export interface ReflectionOptions {
  /** What can be asked for: these services, and all that they use. */
  readonly services: readonly DescService[];
  /** And these, which no service needs: what an Any may hold, such as the details of errors. Default: none. */
  readonly files?: readonly DescFile[];
  /** Aborted when the server stops: streams then end. */
  readonly closing: AbortSignal;
  /** How long a stream may ask nothing, in milliseconds; then it ends, and clients open another. Default: a minute. */
  readonly idleMs?: number;
  /** How many streams there may be at a time: anybody may open one, and each costs memory. Default: 1,000. */
  readonly maxStreams?: number;
}

/** gRPC's server reflection in both of its versions, which differ by their names only. */
export interface ReflectionServices {
  readonly v1: ServiceImpl<typeof V1>;
  readonly v1alpha: ServiceImpl<typeof V1alpha>;
}

/** Creates server reflection (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md). */
export function createReflectionServices(options: ReflectionOptions): ReflectionServices {
  const { services, files, closing, idleMs = 60_000, maxStreams = 1_000 } = options;
  const descriptors = createDescriptors(services, files);
  let streams = 0;

  async function* reply<R extends { readonly host: string; readonly messageRequest: Question }>(
    requests: AsyncIterable<R>,
    { signal }: HandlerContext,
  ) {
    if (streams >= maxStreams) throw new ConnectError("too many are asking", Code.ResourceExhausted);
    streams++;
    let isOver = false;
    const end = () => {
      if (isOver) return;
      isOver = true;
      streams--;
      signal.removeEventListener("abort", end);
    };
    // Of a peer that has gone, the next answer may never be asked for.
    signal.addEventListener("abort", end);
    const sent = new Set<DescFile>();
    try {
      for await (const request of untilIdle(requests, idleMs, closing)) {
        const messageResponse = answer(descriptors, request.messageRequest, sent);
        yield { validHost: request.host, originalRequest: request, messageResponse };
      }
    } finally {
      end();
    }
  }

  return { v1: { serverReflectionInfo: reply }, v1alpha: { serverReflectionInfo: reply } };
}

/** Messages, until none has come for so long, or `closing` is aborted. */
async function* untilIdle<R>(messages: AsyncIterable<R>, idleMs: number, closing: AbortSignal) {
  const iterator = messages[Symbol.asyncIterator]();
  let stop = () => {};
  const onEnd = () => stop();
  const timer = setTimeout(onEnd, idleMs);
  closing.addEventListener("abort", onEnd);
  try {
    while (!closing.aborted) {
      timer.refresh();
      // No race with a promise that lasts as long as the stream: it would keep something of each message.
      const next = await new Promise<IteratorResult<R> | undefined>((resolve, reject) => {
        stop = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || next.done) return;
      yield next.value;
    }
  } finally {
    clearTimeout(timer);
    closing.removeEventListener("abort", onEnd);
  }
}
