import type { Exchange, RequestHeaders } from "../../src/http2/exchange.ts";

/** An exchange that only says whether its peer has to wait. */
export function pausableExchange(headers: RequestHeaders = {}) {
  const state = { isPaused: false };
  const exchange: Exchange = {
    headers,
    connection: { remoteAddress: "", isHttp2: true },
    respond() {},
    write: () => true,
    end() {},
    answer() {},
    reset() {},
    pause() {
      state.isPaused = true;
    },
    resume() {
      state.isPaused = false;
    },
  };
  return { state, exchange };
}
