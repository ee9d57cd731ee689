import type { Receiver } from "../http2/exchange.ts";

/** Takes no notice of the rest of an exchange: its answer is out, or does not depend on it. */
export const deaf: Receiver = {
  onData() {},
  onEnd() {},
  onDrain() {},
  onClose() {},
};
