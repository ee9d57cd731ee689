import { extname } from "node:path";
import { adminPlatform, webPlatform } from "./auth/platform.ts";
import type { Config } from "./config.ts";
import type { Server } from "./server.ts";

/** Options of {@link tryIt}. */
export interface TryItOptions {
  readonly server: Pick<Server, "url" | "adminUrl" | "mint">;
  readonly config: Pick<Config, "adminUserIds" | "dataDir" | "tokenSecret">;
  /** Whether the text is for the operator's own terminal. Otherwise it holds no token: a collector of logs may keep it. */
  readonly isTerminal: boolean;
}

/**
 * What a newcomer pastes to see a notification arrive: commands that listen, and that send. No token is in an argument
 * of a command of ours, where other users of the machine could see it.
 */
export async function tryIt({ server, config, isTerminal }: TryItOptions): Promise<string> {
  const { url, adminUrl } = server;
  const admin = config.adminUserIds[0] ?? "imAdmin";
  const tokenOf = async (userId: string, platformId: number) => (await server.mint({ userId, platformId })).token;
  const body = JSON.stringify({
    sendUserID: admin,
    recvUserID: "alice",
    key: "order.paid",
    data: '{"id":77}',
    reliabilityLevel: 2,
  });
  const asAlice = isTerminal ? `export MUSTREACH_TOKEN=${await tokenOf("alice", webPlatform)}` : whereSecretIs(config);
  const asAdmin = isTerminal
    ? `export TOKEN=${await tokenOf(admin, adminPlatform)}`
    : `${whereSecretIs(config)}\nexport TOKEN=$(${command} token --admin)`;
  const operator = adminUrl === undefined ? "" : `For the operator: ${adminUrl}/console, /metrics and /readyz. `;
  return `
Mustreach answers at ${url}. Try it:

1. In a second terminal, listen as a device of alice:

${asAlice}
${command} listen --user alice --device phone --url ${url}

2. In a third, send her a notification that must reach:

${asAdmin}
curl -sS ${url}/msg/send_business_notification -H "operationID: $(date +%s)" -H "token: $TOKEN" -d '${body}'

${operator}Ctrl-C stops the service; what is stored stays.
`;
}

/** How the command line is called: in a checkout, and where the package is installed. */
const command = extname(import.meta.filename) === ".ts" ? "npm run -s mustreach --" : "npx mustreach";

/** By which a command mints a token for itself. */
function whereSecretIs({ dataDir, tokenSecret }: TryItOptions["config"]): string {
  if (tokenSecret !== undefined) return "# with the service's MUSTREACH_TOKEN_SECRET, or its file:";
  return `export MUSTREACH_DATA_DIR='${dataDir.replaceAll("'", "'\\''")}'`;
}
