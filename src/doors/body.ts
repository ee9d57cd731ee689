import type { HandlerContext } from "@connectrpc/connect";
import { accessOf } from "../auth/access.ts";
import { callerKey } from "../auth/caller.ts";
import { failure } from "../errors.ts";
import { type Body, type BodyBudget, createBodyBudget, minBodyBytes } from "../http/body-budget.ts";
import type { HttpRequest } from "../http/listener.ts";
import { BindError } from "./bind.ts";

/** The part of a HandlerContext that decides how much of a body is taken. */
export type BodyContext = Pick<HandlerContext, "method" | "values">;

/**
 * Reads the body of a call that the gate has let through.
 *
 * Rejects with {@link BindError} 413 when it is too large, with NoPermissionError (1002) when it is so for a caller who
 * may not call the method anyway, and with TooManyRequestsError (429) when it had to give way. The rest of it is taken
 * from the wire and thrown away, so that the answer can be read.
 */
export type ReadBody = (request: HttpRequest, context: BodyContext) => Promise<Buffer>;

/** Options of {@link createBodyLimits}. */
export interface BodyLimitOptions {
  /** The largest body, in bytes. */
  readonly maxBytes: number;
  /** The bytes kept for unfinished bodies of one connection. Default: two of the largest. */
  readonly maxConnectionBytes?: number;
  /** The bytes kept for unfinished bodies of this instance. Default: eight of the largest. */
  readonly maxInstanceBytes?: number;
}

/** What bounds the bodies of all doors. */
export interface BodyLimits {
  limitOf(context: BodyContext): BodyLimit;
  /** Those that an unfinished body of a connection counts in. */
  budgetsOf(connection: object): readonly BodyBudget[];
}

/** How large a body may be, and the error of one that is larger. */
export interface BodyLimit {
  readonly maxBytes: number;
  readonly tooLarge: () => Error;
}

/**
 * The largest body of a caller who is no admin, in bytes. Of the methods that are not for admins, none has a message of
 * more: a conversation id of 2 KiB is the largest field, and JSON may write each byte of it as \u00XX.
 */
export const maxOrdinaryBytes = 16_384;

export function createBodyLimits(options: BodyLimitOptions): BodyLimits {
  const { maxBytes } = options;
  const largest = Math.max(maxBytes, minBodyBytes);
  const { maxConnectionBytes = largest * 2, maxInstanceBytes = largest * 8 } = options;
  const instance = createBodyBudget(maxInstanceBytes);
  const connections = new WeakMap<object, readonly BodyBudget[]>();
  return {
    limitOf: (context) => limitOf(context, maxBytes),
    budgetsOf(connection) {
      const budgets = connections.get(connection) ?? [createBodyBudget(maxConnectionBytes), instance];
      connections.set(connection, budgets);
      return budgets;
    },
  };
}

/** Creates the reader of bodies that are read as a whole. */
export function createReadBody({ limitOf, budgetsOf }: BodyLimits): ReadBody {
  return (request, context) => {
    // The socket of an HTTP/2 request is a view of it made for that request.
    const connection = ("stream" in request ? request.stream.session : request.socket) ?? request;
    return receive(request, limitOf(context), budgetsOf(connection));
  };
}

/**
 * In the documented order a caller who may not call a method is told so after what is wrong with the body; a body that
 * is no ordinary one is not waited for.
 */
function limitOf({ method, values }: BodyContext, largest: number): BodyLimit {
  const isAdmin = values.get(callerKey)?.isAdmin === true;
  const maxBytes = isAdmin ? largest : Math.min(largest, maxOrdinaryBytes);
  const access = accessOf(method);
  const tooLarge = () =>
    isAdmin || typeof access === "string"
      ? new BindError(`the body is larger than ${maxBytes} bytes`, 413)
      : failure("NoPermissionError", access.adminsOnly);
  return { maxBytes, tooLarge };
}

function cutOff(): BindError {
  return new BindError("the body was cut off", 400);
}

function receive(request: HttpRequest, limit: BodyLimit, budgets: readonly BodyBudget[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // One buffer that grows, not the chunks as they came: a chunk of one byte may hold on to a whole read of the socket.
    let bytes = new Uint8Array();
    let length = 0;
    let isOver = false;
    const body: Body = {
      capacity: 0,
      giveWay: () => fail(failure("TooManyRequestsError", "too many bytes of bodies are under way")),
    };

    function release(): void {
      isOver = true;
      for (const budget of budgets) budget.remove(body);
    }

    function fail(error: unknown): void {
      if (isOver) return;
      release();
      // Given back at once: left to the garbage collector, tens of megabytes pile up before it looks at buffers.
      bytes.buffer.transfer(0);
      reject(error);
    }

    function grow(needed: number): void {
      // The first piece is mostly the whole.
      const capacity =
        length === 0 ? needed : Math.min(limit.maxBytes, Math.max(4_096, 2 ** Math.ceil(Math.log2(needed))));
      for (const budget of budgets) budget.remove(body);
      body.capacity = capacity;
      for (const budget of budgets) budget.add(body);
      for (const budget of budgets) budget.enforce();
      if (isOver) return;
      bytes = new Uint8Array(bytes.buffer.transfer(capacity));
    }

    request.on("data", (chunk: Buffer) => {
      if (isOver) return;
      const needed = length + chunk.length;
      if (needed > limit.maxBytes) return fail(limit.tooLarge());
      if (needed > bytes.length) grow(needed);
      if (isOver) return;
      bytes.set(chunk, length);
      length = needed;
    });
    request.on("end", () => {
      if (isOver) return;
      // A stream that its client resets without an error ends like one that is whole.
      if ("stream" in request && request.stream.aborted) return fail(cutOff());
      const whole = Buffer.from(bytes.buffer, 0, length);
      release();
      resolve(whole);
    });
    request.on("error", () => fail(cutOff()));
    request.on("close", () => {
      // An error is made only where there is one: its stack costs more than the rest of this function.
      if (!isOver) fail(cutOff());
    });
  });
}
