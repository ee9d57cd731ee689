import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ContextKey, ContextValues, HandlerContext } from "@connectrpc/connect";
import type { Certificate, Fields, RequestHeaders } from "../http2/exchange.ts";
import { certificateKey, peerKey } from "../observe/peer.ts";

/** What a call begins with. */
export interface CallContextInit {
  readonly method: DescMethod;
  /** Through which door: `rest`, `grpc` or `rpc`. */
  readonly protocolName: string;
  /** What is called, as a URL that can be parsed. */
  readonly url: string;
  readonly headers: RequestHeaders;
  /** The address that the call comes from. */
  readonly peer: string;
  /** The certificate of the peer, where that can be the caller's. */
  readonly certificate?: Certificate | undefined;
  /** Whether the host that the request names cannot be one. */
  readonly isHostBad?: boolean;
  /** The time that the caller gives the call, in milliseconds. Default: as long as it takes. */
  readonly timeoutMs?: number | undefined;
  /** Values that are shared with another context of the call. Default: its own. */
  readonly values?: ContextValues;
}

/**
 * The context of a call, for its gate and its method. It costs next to nothing until it is asked for something: the web's
 * Headers are made of those of the exchange, and the signal, at their first use.
 */
export class CallContext implements HandlerContext {
  readonly method: DescMethod;
  readonly protocolName: string;
  readonly url: string;
  readonly headers: RequestHeaders;
  readonly isHostBad: boolean;
  readonly values: ContextValues;
  /** Told once when the call is aborted, before anything else is. */
  onAbort: ((reason: unknown) => void) | undefined = undefined;
  /** When its time is up, on the clock of performance.now(). */
  readonly #deadline: number;
  #abortReason: unknown = undefined;
  #isOver = false;
  #controller: AbortController | undefined = undefined;
  #requestHeader: Headers | undefined = undefined;
  /** The header fields of the answer, until somebody asks for {@link responseHeader}. */
  #responseFields: string[] = none;
  #responseHeader: Headers | undefined = undefined;
  #responseTrailer: Headers | undefined = undefined;

  constructor(init: CallContextInit) {
    const { method, protocolName, url, headers, peer, certificate, isHostBad = false, timeoutMs, values } = init;
    this.method = method;
    this.protocolName = protocolName;
    this.url = url;
    this.headers = headers;
    this.isHostBad = isHostBad;
    this.values = (values ?? new Values()).set(peerKey, peer);
    if (certificate !== undefined) this.values.set(certificateKey, certificate);
    this.#deadline = timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get requestMethod(): string {
    return "POST";
  }

  timeoutMs(): number | undefined {
    return this.#deadline === Number.POSITIVE_INFINITY ? undefined : this.#deadline - performance.now();
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isOver) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** Why the call was aborted, undefined while it is not. */
  get abortReason(): unknown {
    return this.#abortReason;
  }

  /**
   * Ends the call: the first time, its {@link signal} fires. A reason is asked for because abort() without one builds a
   * DOMException with its stack.
   */
  abort(reason: NonNullable<unknown>): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#abortReason = reason;
    this.onAbort?.(reason);
    this.onAbort = undefined;
    this.#controller?.abort(reason);
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= toHeaders(this.headers);
    return this.#requestHeader;
  }

  /** Sets a header field of the answer; its name in lower case. */
  respondWith(name: string, value: string): void {
    if (this.#responseHeader !== undefined) this.#responseHeader.set(name, value);
    // Most answers have one: an array that grows would take ten times as much, for as long as its stream lasts.
    else if (this.#responseFields.length === 0) this.#responseFields = [name, value];
    else this.#responseFields.push(name, value);
  }

  get responseHeader(): Headers {
    if (this.#responseHeader === undefined) {
      this.#responseHeader = new Headers();
      for (let i = 0; i < this.#responseFields.length; i += 2) {
        this.#responseHeader.set(this.#responseFields[i] ?? "", this.#responseFields[i + 1] ?? "");
      }
    }
    return this.#responseHeader;
  }

  /** The header fields of the answer so far. */
  get responseFields(): Fields {
    return this.#responseHeader === undefined ? this.#responseFields : [...this.#responseHeader].flat();
  }

  /** Whether a method may have set header fields of the answer. */
  get hasMethodFields(): boolean {
    return this.#responseHeader !== undefined;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= new Headers();
    return this.#responseTrailer;
  }

  /** The trailers of the answer so far; undefined when nobody asked for them. */
  get trailers(): Headers | undefined {
    return this.#responseTrailer;
  }
}

/** Of all contexts, and never changed. */
const none: string[] = [];

/** As Connect's createContextValues, without a closure a call. */
class Values implements ContextValues {
  readonly [id: symbol]: unknown;

  get<T>(key: ContextKey<T>): T {
    const value = this[key.id];
    return value === undefined ? key.defaultValue : (value as T);
  }

  set<T>(key: ContextKey<T>, value: T): this {
    (this as Record<symbol, unknown>)[key.id] = value;
    return this;
  }

  delete(key: ContextKey<unknown>): this {
    delete (this as Record<symbol, unknown>)[key.id];
    return this;
  }
}

/** The header fields of a request as the web's type. */
export function toHeaders(fields: RequestHeaders): Headers {
  const headers = new Headers();
  for (const name in fields) {
    const value = fields[name];
    // Those of HTTP/2 that begin with a colon are none for the web.
    if (value !== undefined && !name.startsWith(":")) headers.append(name, value);
  }
  return headers;
}
