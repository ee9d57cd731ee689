import { type DescField, type DescMessage, getOption, type Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { HandlerContext } from "@connectrpc/connect";
import { wrongField } from "../errors.ts";
import { idempotency_key } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { CallContext } from "./context.ts";

/** Of draft-ietf-httpapi-idempotency-key-header. Its value is a key in quotes (RFC 8941) or, as most send it, bare. */
const header = "idempotency-key";

const fields = new WeakMap<DescMessage, DescField | "none">();

/**
 * Takes the idempotency key of a message, if its type has one, from the header `Idempotency-Key`, or the metadata of that
 * name, when the message has none.
 *
 * @throws ArgsError (1001) when both are there and differ.
 */
export function takeIdempotencyKey(desc: DescMessage, message: Message, context: HandlerContext): void {
  const given = headerOf(context)?.replace(/^"(.*)"$/, "$1");
  if (!given) return;
  const field = fields.get(desc) ?? desc.fields.find((one) => getOption(one, idempotency_key)) ?? "none";
  fields.set(desc, field);
  if (field === "none") return;
  const reflected = reflect(desc, message);
  const own = reflected.get(field);
  if (own !== "" && own !== given) {
    throw wrongField(field.jsonName, `${field.jsonName} and the header Idempotency-Key differ`);
  }
  reflected.set(field, given);
}

/** Without making the web's Headers where there are none. */
function headerOf(context: HandlerContext): string | null | undefined {
  return context instanceof CallContext ? context.headers[header] : context.requestHeader.get(header);
}
