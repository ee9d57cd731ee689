import type { HttpRequest, HttpResponse } from "./listener.ts";

/** OpenIM's CORS headers; `authorization` is named because the wildcard does not cover it (Fetch, section 4.9). */
const corsHeaders = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Methods": "*",
  "Access-Control-Allow-Headers": "*, authorization",
  "Access-Control-Expose-Headers": "*",
  "Access-Control-Allow-Credentials": "false",
  "Access-Control-Max-Age": "172800",
} as const;

/** Allows every origin, since tokens travel in headers, and answers a preflight as OpenIM does; true when it was one. */
export function answerCors(request: HttpRequest, response: HttpResponse): boolean {
  for (const [name, value] of Object.entries(corsHeaders)) response.setHeader(name, value);
  if (request.method !== "OPTIONS") return false;
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify("Options Request!"));
  return true;
}
