import type { ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus } from "@connectrpc/connect/protocol-connect";
import { retryAfterMsOf, toErrorFacts } from "../../errors.ts";

/** An error as a door of JSON tells it. */
export interface ErrorAnswer {
  /** The HTTP status that Connect has for it, since browsers and proxies look at nothing else. */
  readonly status: number;
  /** `{errCode, errMsg, errDlt}`, with `retryAfterMs` where trying again may help. */
  readonly json: string;
  readonly retryAfterMs: number | undefined;
}

export function toErrorAnswer(error: ConnectError): ErrorAnswer {
  const { errCode, errMsg, errDlt } = toErrorFacts(error);
  const retryAfterMs = retryAfterMsOf(error);
  const status = codeToHttpStatus(error.code);
  return { status, json: JSON.stringify({ errCode, errMsg, errDlt, retryAfterMs }), retryAfterMs };
}
