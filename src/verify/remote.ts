import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import { type Deployment, devicePlatform } from "./deployment.ts";

/** A deployment that is not ours: it is used as it is, by one or more addresses, and nothing happens to it through us. */
export function reachRemote(urls: readonly string[], adminToken: string): Deployment {
  const [baseUrl = ""] = urls;
  const auth = createClient(AuthService, createGrpcTransport({ baseUrl }));
  const tokens = new Map<string, Promise<string>>();
  const fetchToken = async (userId: string) => {
    const request = { userId, platformId: devicePlatform };
    return (await auth.getUserToken(request, { headers: { token: adminToken } })).token;
  };
  return {
    instances: urls.map((url) => ({ name: url, url, isUp: () => true })),
    faults: [],
    lacking: new Set(),
    adminToken,
    userToken(userId) {
      const token = tokens.get(userId) ?? fetchToken(userId);
      tokens.set(userId, token);
      return token;
    },
    errors: () => [],
    stop: async () => {},
  };
}
