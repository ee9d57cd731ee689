import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { adminPlatform } from "../../auth/platform.ts";
import { createFetchTransport } from "../../client/connect/transport.ts";
import { adminUserId, findToken, serviceUrl } from "../options.ts";

/** What every command that an admin gives takes. */
export interface AdminFlags {
  readonly url?: string;
  readonly token?: string;
}

/** A service as an admin calls it: the second argument of each call is `options`. */
export interface AdminService<S extends DescService> {
  readonly service: Client<S>;
  readonly options: { readonly headers: { readonly token: string } };
}

/** Prepares calls of a service with `--token`, or with a token minted here. */
export async function openAdminService<S extends DescService>(
  service: S,
  { url, token }: AdminFlags,
): Promise<AdminService<S>> {
  return {
    service: createClient(service, createFetchTransport(serviceUrl(url))),
    options: { headers: { token: await findToken(token, adminUserId(), adminPlatform) } },
  };
}
