import type { Accept, Exchange } from "../../src/http2/exchange.ts";

/** A request, as a handler of a test sees it. */
export interface HttpRequest extends AsyncIterable<Buffer> {
  readonly method: string;
  readonly url: string;
  /** 2.0, or 1.1 for any version of HTTP/1. */
  readonly httpVersion: string;
  readonly exchange: Exchange;
}

/** A response, as a handler of a test writes it. */
export interface HttpResponse {
  setHeader(name: string, value: string): void;
  write(body: string | Uint8Array): boolean;
  end(): void;
  on(event: "close", listener: () => void): void;
}

export type HttpHandler = (req: HttpRequest, res: HttpResponse) => unknown;

/** Serves exchanges with a handler. When it rejects, the exchange is told so by its receiver, which throws. */
export function toAccept(handler: HttpHandler): Accept {
  return (exchange) => {
    const chunks: Buffer[] = [];
    const closed: (() => void)[] = [];
    const headers: string[] = [];
    let isComplete = false;
    let isGone = false;
    let isBegun = false;
    let wake = () => {};
    const begin = () => {
      if (!isBegun) exchange.respond([":status", "200", ...headers]);
      isBegun = true;
    };
    const { ":method": method = "", ":path": url = "" } = exchange.headers;
    const req: HttpRequest = {
      method,
      url,
      httpVersion: exchange.connection.isHttp2 ? "2.0" : "1.1",
      exchange,
      async *[Symbol.asyncIterator]() {
        for (;;) {
          yield* chunks.splice(0);
          if (chunks.length > 0) continue;
          if (isComplete) return;
          if (isGone) throw new Error("the request was cut off");
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      },
    };
    const res: HttpResponse = {
      setHeader: (name, value) => void headers.push(name, value),
      write(body) {
        begin();
        return exchange.write(Buffer.from(body));
      },
      end() {
        begin();
        exchange.end();
      },
      on: (_, listener) => void closed.push(listener),
    };
    const done = handler(req, res);
    // Who reads a request that is cut off is told so by an error, which is the peer's.
    if (done instanceof Promise) done.catch(() => {});
    return {
      onData(bytes) {
        chunks.push(Buffer.from(bytes));
        wake();
      },
      onEnd() {
        isComplete = true;
        wake();
      },
      onDrain() {},
      onClose() {
        isGone = true;
        wake();
        for (const listener of closed) listener();
      },
    };
  };
}
