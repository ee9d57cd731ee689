import { type DescMethod, getOption } from "@bufbuild/protobuf";
import { access } from "../gen/mustreach/delivery/v1/delivery_pb.ts";

/** Who may call a method: anybody without a token, the bearer of any valid token, or admins, and what others are told. */
export type Access = "anybody" | "users" | { readonly adminsOnly: string };

/** What others are told of a method that does not say who may call it. */
export const onlyAdmins = "only an admin token may call this";

const known = new WeakMap<DescMethod, Access>();

/** Who may call a method, as its option `access` in the proto says. One without needs an admin's token. */
export function accessOf(method: DescMethod): Access {
  const found = known.get(method) ?? readAccess(method);
  known.set(method, found);
  return found;
}

function readAccess(method: DescMethod): Access {
  const { who } = getOption(method, access);
  if (who.case === "adminsOnly") return { adminsOnly: who.value };
  return who.value === true ? who.case : { adminsOnly: onlyAdmins };
}
