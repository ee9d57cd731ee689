/** An event that an OpenIM SDK tells its app of. */
export interface SdkEvent {
  readonly event: string;
  readonly data?: unknown;
  readonly errCode?: number;
}

/** An app with an OpenIM SDK that has logged in. */
export interface OpenimApp {
  /** Every event so far, in their order. */
  readonly events: readonly SdkEvent[];
  /** What OnRecvCustomBusinessMessage was called with so far. */
  received(): { key: string; data: string }[];
  /** Resolves when there is an event of this name; rejects when there is none in time. */
  saw(event: string): Promise<SdkEvent>;
  /** Ends without goodbye. */
  kill(): Promise<void>;
  /** Logs out. */
  leave(): Promise<void>;
}
