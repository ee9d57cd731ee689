/**
 * A transport of `@connectrpc/connect` 2. Described by its shape, so that the client's types need no package that an app
 * without one does not have.
 */
export interface ConnectTransport {
  readonly unary: (...call: never[]) => Promise<unknown>;
  readonly stream: (...call: never[]) => Promise<unknown>;
}
