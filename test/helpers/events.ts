import http from "node:http";
import http2 from "node:http2";
import type { Readable } from "node:stream";
import { afterAll } from "vitest";

/** A block of an event stream: its fields, by name; of a comment, `""`. */
export interface ServerSentEvent {
  readonly event?: string;
  readonly id?: string;
  readonly data?: string;
  readonly retry?: string;
  readonly ""?: string;
}

/** An answer to `GET /events`. */
export interface EventStream {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders | http2.IncomingHttpHeaders;
  /** The next event; comments are left out. Undefined at the end. */
  next(): Promise<ServerSentEvent | undefined>;
  /** The next, comments included. */
  nextBlock(): Promise<ServerSentEvent | undefined>;
  /** All of an answer that is no event stream. */
  text(): Promise<string>;
  /** Reads nothing more for now. */
  pause(): void;
  resume(): void;
  /** Cuts the connection. */
  kill(): void;
}

const opened: (() => void)[] = [];

export type HttpVersion = "1.1" | "2";

/** Gives the tests of a file clients of server-sent events, which are cut off after the last. */
export function useEvents() {
  afterAll(() => {
    for (const kill of opened.splice(0)) kill();
  });
  return openEvents;
}

/** Opens a stream of server-sent events. */
export async function openEvents(
  version: HttpVersion,
  url: string,
  pathAndQuery: string,
  headers: Record<string, string> = {},
): Promise<EventStream> {
  const response = await (version === "2" ? get2(url, pathAndQuery, headers) : get1(url, pathAndQuery, headers));
  opened.push(response.kill);
  const lines = readLines(response.body);
  const nextBlock = async (): Promise<ServerSentEvent | undefined> => {
    const fields: Record<string, string> = {};
    for (;;) {
      const line = await lines.next();
      if (line.done) return undefined;
      if (line.value === "") return fields;
      const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(line.value) ?? [];
      fields[name] = value;
    }
  };
  return {
    status: response.status,
    headers: response.headers,
    nextBlock,
    async next() {
      for (;;) {
        const block = await nextBlock();
        if (block?.[""] === undefined) return block;
      }
    },
    async text() {
      const texts: string[] = [];
      for await (const line of lines) texts.push(line);
      return texts.join("\n");
    },
    pause: () => void response.body.pause(),
    resume: () => void response.body.resume(),
    kill: response.kill,
  };
}

/** Lines as an event stream has them: U+2028, at which node:readline ends one, too, is a character of its data. */
async function* readLines(body: Readable): AsyncGenerator<string, undefined> {
  let rest = "";
  body.setEncoding("utf8");
  for await (const chunk of body) {
    const lines = `${rest}${chunk}`.split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
  return undefined;
}

interface Response {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders | http2.IncomingHttpHeaders;
  readonly body: Readable;
  readonly kill: () => void;
}

function get1(url: string, path: string, headers: Record<string, string>): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const request = http.get(`${url}${path}`, { headers, agent: false }, (body) => {
    body.on("error", () => {});
    resolve({ status: body.statusCode ?? 0, headers: body.headers, body, kill: () => request.destroy() });
  });
  request.on("error", reject);
  return promise;
}

function get2(url: string, path: string, headers: Record<string, string>): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const session = http2.connect(url);
  session.on("error", reject);
  const body = session.request({ ...headers, ":path": path });
  body.on("error", reject);
  body.on("close", () => session.close());
  body.on("response", (answer) => {
    resolve({ status: answer[":status"] ?? 0, headers: answer, body, kill: () => session.destroy() });
  });
  return promise;
}
