import { type DescMessage, isMessage, type Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { HandlerContext, MethodImplSpec, ServiceImplSpec } from "@connectrpc/connect";
import { accessOf, callerKey } from "../auth/caller.ts";
import { toErrorFacts, toWireError } from "../errors.ts";
import { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import type { AuditLog } from "../observe/audit-log.ts";
import { operationIdKey } from "../observe/operation-id.ts";
import { certificateKey, peerKey } from "../observe/peer.ts";

/** Values of one field in a line, at most. */
const maxValues = 20;

/** The fields that say what a call is about. Of `data` there is the length alone; nothing else is told. */
const about = /(^|_)(ids?|key)$/;

/**
 * Has each call of a method that is for admins, or senders, told in the audit log when it ends: who made it, what it is
 * about and what came of it. And each of GetAdminToken, which makes one an admin. A stream is told when it ends.
 */
export function auditService(spec: ServiceImplSpec, write: AuditLog | undefined): ServiceImplSpec {
  if (write === undefined) return spec;
  const methods = Object.entries(spec.methods).map(([name, method]) => [name, auditMethod(method, write)] as const);
  return { ...spec, methods: Object.fromEntries(methods) };
}

function auditMethod(spec: MethodImplSpec, write: AuditLog): MethodImplSpec {
  const { method } = spec;
  if (typeof accessOf(method) === "string" && method !== AuthService.method.getAdminToken) return spec;
  if (spec.kind === "unary") {
    return {
      ...spec,
      async impl(request: Message, context: HandlerContext) {
        const tell = begin(method.input, request, context, write);
        try {
          const answer = await spec.impl(request, context);
          tell(0);
          return answer;
        } catch (error) {
          tell(errCodeOf(error));
          throw error;
        }
      },
    } as MethodImplSpec;
  }
  if (spec.kind !== "server_streaming") return spec;
  return {
    ...spec,
    async *impl(request: Message, context: HandlerContext) {
      const tell = begin(method.input, request, context, write);
      let errCode = 0;
      try {
        yield* spec.impl(request, context);
      } catch (error) {
        errCode = errCodeOf(error);
        throw error;
      } finally {
        tell(errCode);
      }
    },
  } as MethodImplSpec;
}

function errCodeOf(error: unknown): number {
  return toErrorFacts(toWireError(error)).errCode;
}

function begin(schema: DescMessage, request: Message, { values, method }: HandlerContext, write: AuditLog) {
  const caller = values.get(callerKey);
  const line = {
    operationID: values.get(operationIdKey),
    by: caller?.userId,
    role: caller === undefined ? undefined : caller.isAdmin ? "admin" : caller.sender ? "sender" : "user",
    certificate: values.get(certificateKey)?.names.slice(0, 4),
    peer: values.get(peerKey),
    rpc: `${method.parent.typeName}/${method.name}`,
    ...describe(schema, request),
  };
  return (errCode: number) => write({ ...line, errCode });
}

/** What a request is about: ids and keys by the names of their fields, and the length of `data` in bytes. */
function describe(schema: DescMessage, request: Message) {
  const ids = new Map<string, Set<string>>();
  let dataBytes = 0;
  const look = (desc: DescMessage, message: Message): void => {
    const values = reflect(desc, message);
    for (const field of values.fields) {
      const value: unknown = values.isSet(field) ? values.get(field) : undefined;
      if (value === undefined) continue;
      const each: readonly unknown[] = field.fieldKind === "list" ? [...(value as Iterable<unknown>)] : [value];
      if (field.message !== undefined) {
        for (const inner of each) {
          const { message: known } = inner as { readonly message?: unknown };
          if (isMessage(known)) look(field.message, known);
        }
      } else if (field.name === "data") {
        dataBytes += Buffer.byteLength(String(value));
      } else if (about.test(field.name)) {
        const known = ids.get(field.jsonName) ?? new Set();
        for (const id of each) if (known.size <= maxValues) known.add(String(id));
        ids.set(field.jsonName, known);
      }
    }
  };
  look(schema, request);
  const shown = [...ids].map(([name, found]) => {
    const values = [...found];
    return [name, values.length > maxValues ? [...values.slice(0, maxValues), "…"] : values] as const;
  });
  return { about: Object.fromEntries(shown), ...(dataBytes > 0 && { dataBytes }) };
}
