import { createLimit } from "../../in-flight.ts";
import type { Inbox } from "../../inbox/inbox.ts";
import type { InboxPage } from "../../inbox/read-page.ts";
import type { ReadRequest } from "./feed-item.ts";

/** Reads of one user's inbox at a time: whoever has many sessions in a backlog waits for themselves, not others for them. */
const maxReadsPerUser = 2;

/** The newest page is kept for the user's other sessions when it has at most this many notifications. */
const maxKeptEntries = 8;

/** What is under way for a user. */
interface UnderWay {
  readonly pages: Map<string, Promise<InboxPage>>;
  readonly inTurn: ReturnType<typeof createLimit>;
}

/**
 * The reads of one user's inbox, shared by the user's sessions: those that stand at the same place, as all do that are
 * up to date, cost the broker one read together.
 */
export class SharedRead {
  readonly #userId: string;
  readonly #inbox: Pick<Inbox, "read" | "lineage">;
  /** Undefined while nothing is read. */
  #underWay: UnderWay | undefined = undefined;
  #newest: { readonly after: number; readonly page: InboxPage } | undefined = undefined;

  constructor(userId: string, inbox: Pick<Inbox, "read" | "lineage">) {
    this.#userId = userId;
    this.#inbox = inbox;
  }

  /** @param isShared whether the user has other sessions, for which the page is kept. */
  async read({ after, epoch = "", limit, wanted, ...known }: ReadRequest, isShared = true): Promise<InboxPage> {
    // A page is of the store as it was then.
    if (this.#newest !== undefined && this.#newest.page.lineage !== this.#inbox.lineage(this.#userId)) {
      this.#newest = undefined;
    }
    const newest = this.#newest;
    const covered =
      newest !== undefined && newest.after <= after && after < wanted && wanted <= newest.page.throughSequence;
    if (newest !== undefined && covered) return sliceAfter(newest.page, after, limit);

    const page = await this.#once(`${epoch}/${after}/${limit}`, () =>
      this.#inbox.read(this.#userId, { after, epoch, limit, ...known }),
    );
    // A backlog is not kept: only what is new is wanted by several sessions at a time.
    const isKept = isShared && page.pending === 0 && !page.isStoreChanged && page.entries.length <= maxKeptEntries;
    this.#newest = isKept ? { after, page } : undefined;
    return page;
  }

  /** Begins a read, unless the same is under way. */
  #once(key: string, read: () => Promise<InboxPage>): Promise<InboxPage> {
    this.#underWay ??= { pages: new Map(), inTurn: createLimit(maxReadsPerUser) };
    const { pages, inTurn } = this.#underWay;
    let reading = pages.get(key);
    if (reading === undefined) {
      reading = inTurn(1, read).finally(() => {
        pages.delete(key);
        if (pages.size === 0) this.#underWay = undefined;
      });
      pages.set(key, reading);
    }
    return reading;
  }
}

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
