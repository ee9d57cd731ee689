import { createContextKey } from "@connectrpc/connect";

/** The header and metadata key that OpenIM callers trace a request by. HTTP/2 and gRPC send it in lower case. */
export const operationIdHeader = "operationID";

/** The operation id of the request under way: the caller's, or one made for a caller that gave none. */
export const operationIdKey = createContextKey("");
