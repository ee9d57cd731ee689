import { readEvent } from "../../client/web/event-json.ts";
import type { CallOptions, Subscription } from "../../client/wire/delivery.ts";
import { type ErrorFacts, MustreachClientError, toClientError, toNetworkError } from "../../client/wire/error.ts";
import type { Received } from "../../client/wire/event.ts";

/** Receives server-sent events, as a program without a library for them does. */
export async function* openEventSource(
  baseUrl: string,
  { deviceId, window, afterSequence, epoch }: Subscription,
  { token, signal }: CallOptions,
): AsyncGenerator<Received, undefined> {
  const url = new URL("/events", baseUrl);
  url.searchParams.set("deviceID", deviceId);
  if (window > 0) url.searchParams.set("window", String(window));
  if (afterSequence !== undefined) url.searchParams.set("afterSequence", String(afterSequence));
  if (epoch !== undefined) url.searchParams.set("epoch", epoch);
  const response = await fetch(url, { headers: { token }, signal }).catch((thrown: unknown) => {
    throw signal.aborted ? signal.reason : toClientError(thrown);
  });
  const { ok, body } = response;
  if (!ok || body === null) throw await toRefusal(response);
  let name = "";
  let data = "";
  for await (const line of readLines(body)) {
    if (line.startsWith("event: ")) name = line.slice("event: ".length);
    else if (line.startsWith("data: ")) data = line.slice("data: ".length);
    // A comment is a sign of life.
    else if (line.startsWith(":")) yield { event: { case: undefined } };
    else if (line === "" && data !== "") {
      const json: unknown = JSON.parse(data);
      if (name === "end") throw new MustreachClientError(json as ErrorFacts);
      yield readEvent({ [name]: json });
      data = "";
    }
  }
  return undefined;
}

/** What was answered in the place of a stream. */
async function toRefusal(response: Response): Promise<MustreachClientError> {
  try {
    return new MustreachClientError((await response.json()) as ErrorFacts);
  } catch (thrown) {
    return toNetworkError(`HTTP ${response.status}`, thrown);
  }
}

/** Lines end at a line feed only: U+2028 is a character of JSON. */
async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const lines = `${rest}${decoder.decode(chunk, { stream: true })}`.split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}
