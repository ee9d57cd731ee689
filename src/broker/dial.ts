import {
  connect,
  type NatsConnection,
  type NodeConnectionOptions,
  nkeyAuthenticator,
  nkeys,
} from "@nats-io/transport-node";

/** Opens a connection to a broker. */
export type Dial = (options: NodeConnectionOptions) => Promise<NatsConnection>;

/** A new key: the half that a broker is told, and the other, which answers its challenge. */
export function createClientKey(): { readonly publicKey: string; readonly seed: Uint8Array } {
  const user = nkeys.createUser();
  return { publicKey: user.getPublicKey(), seed: user.getSeed() };
}

/** Where a broker is now, `127.0.0.1:43211` or {@link nowhere}, and the key that answers its challenge. */
export type BrokerPlace = Readonly<{ address: string; seed: Uint8Array }>;

/** An address that nobody can listen on. */
export const nowhere = "127.0.0.1:0";

/** Dials a broker at each try where `place` says. `onLost` is told of each loss of the connection, 200 ms before a try. */
export function dialTo(place: () => BrokerPlace, onLost: () => void = () => {}): Dial {
  return async (options) => {
    let connection: NatsConnection | undefined;
    connection = await connect({
      ...options,
      servers: place().address,
      authenticator: (nonce) => nkeyAuthenticator(place().seed)(nonce),
      ignoreClusterUpdates: true,
      reconnectToServer: (pool) => {
        if (connection === undefined) return null;
        // First nowhere, for the 200 ms until the next try: the connection is lost the moment that the broker dies,
        // and we hear of its death a moment later. Meanwhile its port is anybody's.
        const isLost = pool.some(({ didConnect }) => didConnect);
        if (isLost) onLost();
        connection.setServers([isLost ? nowhere : place().address]);
        return connection.getServers()[0] ?? null;
      },
    });
    return connection;
  };
}
