import type { Exchange, Fields } from "../http2/exchange.ts";

/**
 * OpenIM's CORS header fields, of every answer: every origin is allowed, since tokens travel in headers. `authorization`
 * is named because the wildcard does not cover it (Fetch, section 4.9).
 */
export const corsFields: Fields = [
  ...["access-control-allow-origin", "*"],
  ...["access-control-allow-methods", "*"],
  ...["access-control-allow-headers", "*, authorization"],
  ...["access-control-expose-headers", "*"],
  ...["access-control-allow-credentials", "false"],
  ...["access-control-max-age", "172800"],
];

const preflightFields: Fields = [":status", "200", ...corsFields, "content-type", "application/json"];
const preflightBody = Buffer.from(JSON.stringify("Options Request!"));

/** Answers a preflight as OpenIM does; false for any other request. */
export function answerPreflight(exchange: Exchange): boolean {
  if (exchange.headers[":method"] !== "OPTIONS") return false;
  exchange.answer(preflightFields, preflightBody);
  return true;
}
