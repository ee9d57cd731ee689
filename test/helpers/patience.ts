import { vi } from "vitest";

/**
 * How long `vi.waitFor` waits, in milliseconds, unless a test says otherwise. Vitest's own second is short on a busy
 * machine, and vitest has no setting for it.
 */
const patience = { timeout: 60_000 };

const { waitFor } = vi;
vi.waitFor = (check, options) =>
  waitFor(check, { ...patience, ...(typeof options === "number" ? { timeout: options } : options) });
