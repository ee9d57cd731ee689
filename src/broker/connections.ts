import { type Broker, type ConnectOptions, connectBroker } from "./connect.ts";

/**
 * An instance's connections to the broker. What waits on one does not hold up the others: a mass of inbox reads leaves
 * the pings, the signals and the acknowledgements of sends alone.
 */
export interface Connections {
  /** Signals between instances, online pushes, jobs and the declaration of streams. */
  readonly signals: Broker;
  /** Direct gets: inboxes, cursors, records. */
  readonly reads: Broker;
  /** Writes that are acknowledged. */
  readonly writes: Broker;
  /** Whether all of them are up at the moment. */
  isConnected(): boolean;
  /** Sends what is buffered and closes all of them. */
  close(): Promise<void>;
}

/**
 * Connects to the broker, for each kind of work once.
 *
 * @throws NetworkError (90004) as {@link connectBroker}.
 */
export async function openConnections(options: Omit<ConnectOptions, "name">): Promise<Connections> {
  const opened: Broker[] = [];
  const open = async (name: string) => {
    const broker = await connectBroker({ ...options, name });
    opened.push(broker);
    return broker;
  };
  const close = async () => {
    await Promise.all(opened.map((broker) => broker.close()));
  };
  try {
    return {
      // One after the other: with a broker that is not there yet, one line of the log says so.
      signals: await open("mustreach"),
      reads: await open("mustreach reads"),
      writes: await open("mustreach writes"),
      isConnected: () => opened.every((broker) => broker.isConnected()),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
