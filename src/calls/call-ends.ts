import { Code, ConnectError } from "@connectrpc/connect";

// Made once: abort() without a reason would build a DOMException with its stack for every call.

/** Why a call is aborted that is over anyway. */
export const callEnded = new ConnectError("the call has ended", Code.Canceled);

/** Why a call is aborted that nobody waits for any more. */
export const callerGone = new ConnectError("the caller has gone", Code.Canceled);
