import type { IncomingMessage, ServerResponse } from "node:http";
import type { Accept, Connection, Exchange, Fields, RequestHeaders } from "../http2/exchange.ts";
import { NodeReceiver } from "../http2/node-receiver.ts";
import { type Log, maxWaitingBytes } from "../http2/protocol.ts";

/** Up to which size a body is written with the headers, in bytes; a larger one is not copied. */
const maxTextBytes = 16_384;

/** A request of HTTP/1.1 and its response as an {@link Exchange}. */
export class Http1Exchange extends NodeReceiver implements Exchange {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;

  constructor(req: IncomingMessage, res: ServerResponse, connection: Connection, log: Log) {
    super(toRequestHeaders(req), connection, log);
    this.#req = req;
    this.#res = res;
    // A write after the end, for one, is told by an event that ends the process if nobody listens.
    req.on("error", (err) => log.debug({ err }, "request error"));
    res.on("error", (err) => log.debug({ err }, "response error"));
  }

  /** Hands the request to who answers it. */
  serve(accept: Accept): void {
    try {
      this.receiver = accept(this);
    } catch (err) {
      this.fail(err);
      return;
    }
    this.#res.on("close", () => this.close(this.isEnded && this.#res.writableFinished));
    if (!hasBody(this.headers)) {
      this.endRequest();
      return;
    }
    this.#req.on("data", (bytes: Buffer) => this.take(bytes));
    this.#req.on("end", () => this.endRequest());
  }

  respond(headers: Fields): void {
    const res = this.#res;
    if (this.isEnded || res.headersSent || res.destroyed) return;
    try {
      res.writeHead(Number(headers[1]), headers.slice(2));
    } catch (err) {
      this.log.error({ err }, "the header fields of an answer are none");
      this.reset();
    }
  }

  write(bytes: Uint8Array): boolean {
    const res = this.#res;
    if (this.isEnded || res.destroyed) return true;
    res.write(bytes);
    if (res.writableLength <= maxWaitingBytes) return true;
    if (!this.isDrainAwaited) res.once("drain", () => this.drain());
    this.isDrainAwaited = true;
    return false;
  }

  end(trailers?: Fields): void {
    if (this.isEnded) return;
    if (!this.#res.headersSent) this.#answer(trailers ?? [], undefined);
    else this.#end(undefined, trailers);
  }

  answer(headers: Fields, body: Uint8Array, trailers?: Fields): void {
    if (this.isEnded) return;
    // Trailers come after the last chunk of a body without a length.
    if (trailers === undefined) this.#answer(headers, body);
    else {
      this.respond(headers);
      this.#end(body, trailers);
    }
  }

  reset(): void {
    this.isEnded = true;
    this.#req.socket.destroy();
  }

  pause(): void {
    if (!this.isEnded) this.#req.pause();
  }

  resume(): void {
    this.#req.resume();
  }

  #answer(headers: Fields, body: Uint8Array | undefined): void {
    const isMeasured = headers.includes("content-length");
    this.respond(isMeasured ? headers : [...headers, "content-length", String(body?.length ?? 0)]);
    this.#end(body, undefined);
  }

  #end(body: Uint8Array | undefined, trailers: Fields | undefined): void {
    if (this.isEnded) return;
    this.isEnded = true;
    const res = this.#res;
    if (res.destroyed) return;
    if (trailers !== undefined) res.addTrailers(toPairs(trailers));
    if (body === undefined || body.length > maxTextBytes) res.end(body);
    // The same bytes as a text, which Node writes in one piece with the headers.
    else res.end(Buffer.from(body.buffer, body.byteOffset, body.length).toString("latin1"), "latin1");
    // Nobody reads it any more, and what follows on the connection comes after it.
    if (this.#req.isPaused()) this.#req.resume();
  }

  protected abandon(): void {
    if (this.#res.headersSent) this.reset();
    else this.end([":status", "500"]);
  }
}

function toRequestHeaders(req: IncomingMessage): RequestHeaders {
  const headers: Record<string, string | string[] | undefined> = req.headers;
  headers[":method"] = req.method;
  headers[":path"] = req.url;
  headers[":authority"] = req.headers.host;
  headers[":scheme"] = "encrypted" in req.socket ? "https" : "http";
  // The only one of which Node makes a list; of a field that there can be once, such as `authorization`, the first counts.
  const { "set-cookie": cookies } = req.headers;
  if (cookies !== undefined) headers["set-cookie"] = cookies.join(", ");
  return headers as RequestHeaders;
}

/** RFC 9112, 6.3. */
function hasBody(headers: RequestHeaders): boolean {
  const { "content-length": length, "transfer-encoding": coding } = headers;
  return coding !== undefined || (length !== undefined && length !== "0");
}

function toPairs(fields: Fields): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) pairs.push([fields[i] ?? "", fields[i + 1] ?? ""]);
  return pairs;
}
