import { toNetworkError } from "./error.ts";

/** Whether this page can be reached at all, as far as its browser tells. */
export interface Presence {
  /** Aborted when the page goes next: a session would only be found dead later. */
  readonly away: () => AbortSignal;

  /** Aborted when it comes back next: nothing is waited for then. */
  readonly back: () => AbortSignal;
}

/** Somewhere that tells nothing, such as Node. */
export const alwaysPresent: Presence = ((never) => ({ away: () => never, back: () => never }))(
  new AbortController().signal,
);

/**
 * Listens to what the browser tells a page of its network, and of its own life.
 *
 * @param options.network only of the network: tabs that share a stream are told the rest by those that are not frozen.
 * @param options.ended ends the listening.
 */
export function watchPresence({
  network,
  ended,
}: {
  readonly network: boolean;
  readonly ended: AbortSignal;
}): Presence {
  if (typeof globalThis.addEventListener !== "function") return alwaysPresent;
  let going = new AbortController();
  let coming = new AbortController();

  const go = (why: string) => going.abort(toNetworkError(why));
  const come = () => coming.abort();

  function on(target: EventTarget, name: string, listener: (event: Event) => void) {
    target.addEventListener(name, listener, { signal: ended });
  }

  on(globalThis, "offline", () => go("the browser is offline"));
  on(globalThis, "online", come);
  if (!network && typeof document === "object") {
    on(document, "freeze", () => go("the page is frozen"));
    on(document, "resume", come);
    // With a connection that is open, a browser would not keep the page for whoever goes back to it.
    on(globalThis, "pagehide", (event) => isKept(event) && go("the page is hidden"));
    on(globalThis, "pageshow", (event) => isKept(event) && come());
  }
  return {
    away() {
      // An attempt after it has gone is one all the same: browsers are wrong about their networks at times.
      if (going.signal.aborted) going = new AbortController();
      return going.signal;
    },
    back() {
      if (coming.signal.aborted) coming = new AbortController();
      return coming.signal;
    },
  };
}

/** Whether the page goes on, or went on, where it was. */
function isKept(event: Event): boolean {
  return "persisted" in event && event.persisted === true;
}
