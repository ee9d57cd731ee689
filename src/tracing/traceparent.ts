import { AsyncLocalStorage } from "node:async_hooks";
import { createContextKey } from "@connectrpc/connect";

/** The header, and the metadata key, of a trace (W3C Trace Context); also of what is stored. */
export const traceparentHeader = "traceparent";

/** The trace of the call under way; empty for none. */
export const traceparentKey = createContextKey("", { description: "the call's traceparent" });

/** Version 00, ids that are not all zero, flags. */
const valid = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

const current = new AsyncLocalStorage<string>();

/** A header's value; empty for what is none, which is ignored as the standard has it. */
export function readTraceparent(value: string | undefined): string {
  return value !== undefined && valid.test(value) ? value : "";
}

/** The id by which logs are joined; undefined without a trace. */
export function traceIdOf(traceparent: string): string | undefined {
  return traceparent === "" ? undefined : traceparent.slice(3, 35);
}

/** Runs what belongs to a trace. */
export function withTraceparent<T>(traceparent: string, run: () => T): T {
  return current.run(traceparent, run);
}

/** The trace to which what runs belongs; empty for none. */
export function currentTraceparent(): string {
  return current.getStore() ?? "";
}
