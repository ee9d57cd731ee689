import { createLimit } from "../in-flight.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { InboxPage } from "../inbox/read-page.ts";
import type { ReadInbox } from "./feed.ts";

/** Reads of one user's inbox at a time: whoever has many sessions in a backlog waits for themselves, not others for them. */
const maxReadsPerUser = 2;

/**
 * Creates the reads of one user's inbox, shared by the user's sessions: those that stand at the same place, as all do
 * that are up to date, cost the broker one read together.
 */
export function createSharedRead(userId: string, inbox: Pick<Inbox, "read" | "lineage">): ReadInbox {
  const underWay = new Map<string, Promise<InboxPage>>();
  const inTurn = createLimit(maxReadsPerUser);
  let newest: { readonly after: number; readonly page: InboxPage } | undefined;

  return async ({ after, epoch = "", limit, wanted, knownUntilMs }) => {
    // A page is of the store as it was then.
    if (newest !== undefined && newest.page.lineage !== inbox.lineage(userId)) newest = undefined;
    const covered =
      newest !== undefined && newest.after <= after && after < wanted && wanted <= newest.page.throughSequence;
    if (newest !== undefined && covered) return sliceAfter(newest.page, after, limit);

    const key = `${epoch}/${after}/${limit}`;
    let reading = underWay.get(key);
    if (reading === undefined) {
      const readPage = () => inbox.read(userId, { after, epoch, limit, knownUntilMs });
      reading = inTurn(1, readPage).finally(() => underWay.delete(key));
      underWay.set(key, reading);
    }
    const page = await reading;
    // A backlog is not kept: only what is new is wanted by several sessions at a time.
    newest =
      page.pending === 0 && !page.isStoreChanged && page.entries.length <= maxKeptEntries ? { after, page } : undefined;
    return page;
  };
}

/** The newest page is kept for the user's other sessions when it has at most this many notifications. */
const maxKeptEntries = 8;

function sliceAfter(page: InboxPage, after: number, limit: number): InboxPage {
  const following = page.entries.filter((entry) => entry.sequence > after);
  const entries = following.slice(0, limit);
  if (entries.length === following.length) return { ...page, entries };
  return {
    ...page,
    entries,
    throughSequence: entries.at(-1)?.sequence ?? after,
    pending: following.length - entries.length + page.pending,
  };
}
