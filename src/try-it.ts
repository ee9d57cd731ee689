import { adminPlatform, webPlatform } from "./auth/platform.ts";
import type { Server } from "./server.ts";

/**
 * What a newcomer pastes to see a notification arrive: a command that listens, and one that sends, with an admin's
 * token. The tokens are as good as any: standard output of the service is the operator's own terminal.
 */
export async function tryIt(
  server: Pick<Server, "url" | "adminUrl" | "mint">,
  adminUserIds: readonly string[],
): Promise<string> {
  const admin = adminUserIds[0] ?? "imAdmin";
  const { token } = await server.mint({ userId: admin, platformId: adminPlatform });
  const alice = await server.mint({ userId: "alice", platformId: webPlatform });
  const body = JSON.stringify({
    sendUserID: admin,
    recvUserID: "alice",
    key: "order.paid",
    data: '{"id":77}',
    reliabilityLevel: 2,
  });
  return `
Mustreach answers at ${server.url}. Try it:

1. In a second terminal, listen as a device of alice:

npm run -s mustreach -- listen --user alice --device phone --url ${server.url} --token ${alice.token}

2. In a third, send her a notification that must reach:

export TOKEN=${token}
curl -sS ${server.url}/msg/send_business_notification -H "operationID: $(date +%s)" -H "token: $TOKEN" -d '${body}'

${server.adminUrl === undefined ? "" : `Metrics and health, for the operator: ${server.adminUrl}/metrics, ${server.adminUrl}/readyz. `}Ctrl-C stops the service; what is stored stays.
`;
}
