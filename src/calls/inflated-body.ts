import { Code, ConnectError } from "@connectrpc/connect";
import { acceptedEncodings, inflate, inflatedLength } from "../grpc/inflate.ts";
import { createLimit } from "../in-flight.ts";
import { BindError } from "../json/bind.ts";
import type { BodyContext, BodyLimits } from "./body.ts";
import type { IncomingBody } from "./incoming-body.ts";

type Readable = Pick<IncomingBody, "read">;

/** Gives what a body is read by, by its Content-Encoding: itself when there is none. */
export type ByEncoding = (body: IncomingBody, encoding: string | undefined) => Readable;

/**
 * Creates what inflates the bodies of requests with `Content-Encoding: gzip`. What a body becomes is bounded as one that
 * is not encoded, before it is inflated, and so is what is inflated at a time: it adds up to one of the largest.
 *
 * Reading rejects as {@link IncomingBody.read}, with BindError 415 for another encoding, and 400 for what is no gzip.
 */
export function createByEncoding(limits: BodyLimits): ByEncoding {
  const inFlight = createLimit(Number.POSITIVE_INFINITY, limits.maxBytes);

  const read = async (body: Readable, context: BodyContext): Promise<Buffer> => {
    const bytes = await body.read(context);
    try {
      const length = inflatedLength(bytes, limits.limitOf(context));
      return await inFlight(length, async () => toBuffer(await inflate(bytes, length)));
    } catch (error) {
      // What is no gzip; the error of a length is the limit's.
      throw error instanceof ConnectError && error.code === Code.Internal
        ? new BindError("the body is not one gzip", 400)
        : error;
    }
  };

  return (body, encoding = "identity") => {
    if (encoding === "identity") return body;
    if (encoding === acceptedEncodings) return { read: (context) => read(body, context) };
    return { read: () => Promise.reject(new BindError("of Content-Encodings only gzip is taken", 415)) };
  };
}

function toBuffer({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
