import { setTimeout as sleep } from "node:timers/promises";
import type { ServiceImpl } from "@connectrpc/connect";
import { requireAdmin } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { ReportService } from "../gen/mustreach/msg/v1/report_pb.ts";
import type { ReportPage, ReportPages } from "./page.ts";
import type { Told } from "./told.ts";

export interface ReportServiceDeps {
  readonly pages: ReportPages;
  readonly told: Pick<Told, "listen" | "count" | "wait">;
  /** How often a stream without reports is told so, in milliseconds. */
  readonly heartbeatMs: number;
  /** Aborted when streams are to end, since the instance is stopping. */
  readonly stopping: AbortSignal;
}

/** Reports of a page of a caller that names no number, and of an answer of a stream. */
const defaultLimit = 100;

/** The most reports of a page. */
const maxLimit = 1_000;

/** A replica that lags behind has what was told this much later, in milliseconds. */
const lagMs = 200;

/** Creates the implementation of ReportService. */
export function createReportService(deps: ReportServiceDeps): ServiceImpl<typeof ReportService> {
  const { pages, told, heartbeatMs } = deps;

  async function* watch(from: number | "newest", signal: AbortSignal) {
    await told.listen();
    let after = from === "newest" ? await pages.newest() : from;
    let count = told.count();
    let page = await pages.open(after, defaultLimit);
    // Also before the first: who calls knows that nothing is missed from then on.
    let isSilent = true;
    while (!signal.aborted) {
      if (page.reports.length > 0 || page.gap !== undefined || isSilent) yield toAnswer(page);
      after = page.through;
      isSilent = false;
      if (page.pending === 0) {
        await told.wait(count, heartbeatMs, signal);
        isSilent = told.count() === count;
      }
      const isTold = told.count() !== count;
      count = told.count();
      page = await pages.read(after, defaultLimit);
      if (isTold && page.reports.length === 0) {
        await sleep(lagMs, undefined, { signal }).catch(() => {});
        page = await pages.read(after, defaultLimit);
      }
    }
  }

  return {
    watchReports({ afterSequence, onlyNew }, context) {
      const after = toSequence(afterSequence);
      if (onlyNew && after > 0) throw wrongField("onlyNew", "give either afterSequence or onlyNew");
      requireAdmin(context);
      return watch(onlyNew ? "newest" : after, AbortSignal.any([context.signal, deps.stopping]));
    },

    async pullReports({ afterSequence, limit }, context) {
      const after = toSequence(afterSequence);
      if (limit < 0 || limit > maxLimit) throw wrongField("limit", `limit must be 1 to ${maxLimit}`);
      requireAdmin(context);
      const page = await pages.open(after, limit || defaultLimit);
      return { ...toAnswer(page), isEnd: page.pending === 0 };
    },
  };
}

function toAnswer({ reports, gap, through }: ReportPage) {
  return {
    reports: [...reports],
    throughSequence: BigInt(through),
    ...(gap && { gap: { from: BigInt(gap.from), to: BigInt(gap.to) } }),
  };
}

function toSequence(value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw wrongField("afterSequence", "afterSequence must be the sequence of a report, or 0");
  }
  return Number(value);
}
