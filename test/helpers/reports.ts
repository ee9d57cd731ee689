import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { onTestFinished } from "vitest";
import { ReportService, type WatchReportsResponse } from "../../src/gen/mustreach/msg/v1/report_pb.ts";
import type { TestServer } from "./server.ts";

/** A report as REST shows it. */
export interface ReportJson {
  readonly sequence: number;
  readonly state: string;
  readonly serverMsgID: string;
  readonly clientMsgID: string;
  readonly userID: string;
  readonly deviceID: string;
  readonly key: string;
  readonly sendTime: number;
  readonly time: number;
  readonly reason: string;
}

/** What a page of reports holds. */
export interface ReportsJson {
  readonly reports: readonly ReportJson[];
  readonly gap?: { readonly from: number; readonly to: number };
  readonly throughSequence: number;
  readonly isEnd: boolean;
}

type Posting = Pick<TestServer, "post" | "adminToken">;

/** Reads a page of reports. */
export async function pullReports(server: Posting, request: object = {}): Promise<ReportsJson> {
  const { json } = await server.post("/msg/pull_reports", request, await server.adminToken());
  if (json.errCode !== 0) throw new Error(`${json.errCode} ${json.errDlt}`);
  return json.data as unknown as ReportsJson;
}

/** All reports of a notification by now, in order. */
export async function reportsOf(server: Posting, { serverMsgID }: { readonly serverMsgID: string }) {
  const found: ReportJson[] = [];
  for (let after = 0; ; ) {
    const page = await pullReports(server, { afterSequence: after, limit: 1_000 });
    found.push(...page.reports.filter((report) => report.serverMsgID === serverMsgID));
    if (page.isEnd) return found;
    after = page.throughSequence;
  }
}

/** Sends a must-reach notification with reports, unless the change says otherwise, and returns its ids. */
export async function sendReported(server: Posting, change: object) {
  const body = { sendUserID: "system", key: "order.paid", data: "{}", reliabilityLevel: 2, report: true, ...change };
  const { json } = await server.post("/msg/send_business_notification", body, await server.adminToken());
  if (json.errCode !== 0) throw new Error(`${json.errCode} ${json.errDlt}`);
  return json.data as unknown as { serverMsgID: string; clientMsgID: string; sendTime: number };
}

/** Opens WatchReports over gRPC for a test. */
export async function watchReports(server: Pick<TestServer, "url" | "adminToken">, request: object = {}) {
  const sessionManager = new Http2SessionManager(server.url);
  const stop = new AbortController();
  onTestFinished(() => {
    stop.abort();
    sessionManager.abort();
  });
  const client = createClient(ReportService, createGrpcTransport({ baseUrl: server.url, sessionManager }));
  const headers = { token: await server.adminToken() };
  const answers = client.watchReports(request, { headers, signal: stop.signal })[Symbol.asyncIterator]();
  const next = async (): Promise<WatchReportsResponse> => {
    const { done, value } = await answers.next();
    if (done) throw new Error("the stream has ended");
    return value;
  };
  return {
    next,
    /** The next reports, at least so many. */
    async take(count: number) {
      const taken: WatchReportsResponse["reports"] = [];
      while (taken.length < count) taken.push(...(await next()).reports);
      return taken;
    },
    stop: () => stop.abort(),
  };
}
