import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { createStreamState } from "../broker/reads/leader.ts";
import type { Report } from "../gen/mustreach/msg/v1/report_pb.ts";
import { reportFilter, reportStream } from "./layout.ts";
import { readReport } from "./reports.ts";

/** Some reports, in order. */
export interface ReportPage {
  readonly reports: readonly Report[];
  /** What nobody can read any more, before them; undefined when nothing is missing. */
  readonly gap: ReportLoss | undefined;
  /** Everything up to this sequence is in hand, or lost. */
  readonly through: number;
  /** How many follow now. */
  readonly pending: number;
}

/** Reports that made room, were kept long enough, or went with their store. */
export interface ReportLoss {
  readonly from: number;
  /** 0: not known, since the store was replaced by one that has fewer. */
  readonly to: number;
}

/** The reports in their order. Each method throws NetworkError (90004) when the broker does not answer in time. */
export interface ReportPages {
  /** Reads what follows a sequence, at most `limit`; a page also ends at about 1 MiB. */
  read(after: number, limit: number): Promise<ReportPage>;
  /**
   * Reads as {@link read}, where `after` is from who knows when: if the store has never given so many reports, it was
   * replaced, and what it has is read from the beginning.
   */
  open(after: number, limit: number): Promise<ReportPage>;
  /** The sequence of the newest report, 0 before the first. */
  newest(): Promise<number>;
}

/** A page ends with the report that reaches this size, in bytes. */
const maxPageBytes = 1_048_576;

export function createReportPages(broker: Broker, get: DirectGet): ReportPages {
  const state = createStreamState(broker);
  const newest = async () => (await state(reportStream)).last_seq;

  const read = async (after: number, limit: number): Promise<ReportPage> => {
    const range = { from: after + 1, count: limit, maxBytes: maxPageBytes };
    const { messages, pending } = await get.along(reportStream, reportFilter, range);
    const reports = messages.map(readReport);
    const first = messages[0]?.sequence ?? after + 1;
    // Nothing but what makes room is ever missing: no sequence is given in vain.
    const gap = first > after + 1 ? { from: after + 1, to: first - 1 } : undefined;
    return { reports, gap, through: messages.at(-1)?.sequence ?? after, pending };
  };

  return {
    read,
    newest,
    async open(after, limit) {
      const page = await read(after, limit);
      if (after === 0) return { ...page, gap: undefined };
      if (page.reports.length > 0 || (await newest()) >= after) return page;
      return { ...(await read(0, limit)), gap: { from: Math.min(after + 1, Number.MAX_SAFE_INTEGER), to: 0 } };
    },
  };
}
