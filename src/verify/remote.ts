import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { fromConnectError } from "../client/connect/error.ts";
import { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import { type Deployment, devicePlatform } from "./deployment.ts";
import { perAddress } from "./doors/per-address.ts";

/** How long a token may take, in milliseconds. */
const timeoutMs = 10_000;

/**
 * Reaches a deployment that is not ours: it is used as it is, by one or more addresses, and nothing happens to it through
 * us. Rejects when one of them does not answer, or takes the token for no admin's.
 */
export async function reachRemote(urls: readonly string[], adminToken: string): Promise<Deployment> {
  const fetchToken = async (url: string, userId: string) => {
    const request = { userId, platformId: devicePlatform };
    return (await authAt(url).getUserToken(request, { headers: { token: adminToken }, timeoutMs })).token;
  };
  for (const url of urls) {
    await fetchToken(url, "user-0").catch((thrown: unknown) => {
      const { errCode, errMsg, errDlt } = fromConnectError(thrown);
      throw new Error(`${url}: ${errCode} ${errMsg}: ${errDlt}`);
    });
  }
  const [first = ""] = urls;
  const tokens = new Map<string, Promise<string>>();
  return {
    instances: urls.map((url) => ({ name: url, url, isUp: () => true })),
    faults: [],
    lacking: new Set(),
    adminToken,
    userToken(userId) {
      const token = tokens.get(userId) ?? fetchToken(first, userId);
      tokens.set(userId, token);
      return token;
    },
    ownFaults: () => [],
    stop: async () => {},
  };
}

const authAt = perAddress((baseUrl) => createClient(AuthService, createGrpcTransport({ baseUrl })));
