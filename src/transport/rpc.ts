import {
  type ConnectRouter,
  type ConnectRouterOptions,
  createConnectRouter,
  createContextValues,
} from "@connectrpc/connect";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { BaseLogger } from "pino";
import { peerKey, peerOf } from "../observe/peer.ts";
import type { HttpRequest, HttpResponse } from "./listener.ts";

/** Options of {@link createRpc}. */
export interface RpcOptions extends ConnectRouterOptions {
  /** Registers the services. */
  readonly routes: (router: ConnectRouter) => void;
  readonly log: BaseLogger;
}

/** Answers gRPC, gRPC-Web and Connect; false when the path is not one of a method. */
export type Rpc = (request: HttpRequest, response: HttpResponse) => boolean;

/**
 * Creates the RPC door. As connectNodeAdapter, which writes to the console whenever a peer goes away in the middle of
 * a write; here that is a line of the log, at debug level.
 */
export function createRpc({ routes, log, ...options }: RpcOptions): Rpc {
  const router = createConnectRouter(options);
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = handlers.get((request.url ?? "").split("?", 1)[0] ?? "");
    if (handler === undefined) return false;
    const values = createContextValues().set(peerKey, peerOf(request.socket));
    handler(universalRequestFromNodeRequest(request, response, undefined, values))
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch((err: unknown) => {
        log.debug({ err, rpc: handler.requestPath }, "the peer went away before it had the answer");
        response.destroy();
      });
    return true;
  };
}
