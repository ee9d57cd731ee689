/** What a disk is told to do. */
export type Order =
  | { readonly do: "mount" }
  /** How much may still be written; without it, as much as one likes. */
  | { readonly do: "limit"; readonly bytes?: number }
  /** How long each sync takes. */
  | { readonly do: "slow"; readonly min: number; readonly max: number; readonly seed: number }
  /** All that is on it is safe. */
  | { readonly do: "sync" }
  /** Nothing is done for so long. */
  | { readonly do: "hang"; readonly ms: number }
  /** The power fails: what was not synced is forgotten. */
  | { readonly do: "cut"; readonly seed: number };

export type Command = Order & { readonly id: number };

/** What came of a command. */
export type Report = { readonly id: number } & ({ readonly value: number } | { readonly error: string });
