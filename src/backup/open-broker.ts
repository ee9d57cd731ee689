import type { Logger } from "pino";
import { type Broker, connectBroker } from "../broker/connect.ts";
import type { Config } from "../config.ts";
import { findNatsServer } from "../embedded/find.ts";
import { startEmbeddedBroker } from "../embedded/start.ts";
import { maxOverheadBytes } from "../limits.ts";

/**
 * Uses the broker of the settings: the one at MUSTREACH_NATS_URL, or else the embedded one, which runs for as long. Then
 * the service must not.
 *
 * @throws as `connectBroker`, `startEmbeddedBroker`.
 */
export async function useBroker<T>(config: Config, log: Logger, use: (broker: Broker) => Promise<T>): Promise<T> {
  const { natsUrl, natsCreds: creds, natsServer: configured, dataDir, maxDataBytes, sendTimeout } = config;
  if (natsUrl !== undefined) {
    const broker = await connectBroker({ servers: natsUrl, creds, requestTimeoutMs: sendTimeout, log });
    return use(broker).finally(broker.close);
  }
  const binary = await findNatsServer({ configured, log });
  const maxPayloadBytes = Math.max(1_048_576, maxDataBytes + maxOverheadBytes);
  const embedded = await startEmbeddedBroker({ binary, dataDir, maxPayloadBytes, log });
  try {
    const { url, dial } = embedded;
    const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: sendTimeout, log });
    return await use(broker).finally(broker.close);
  } finally {
    await embedded.stop();
  }
}
