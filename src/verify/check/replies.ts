import { acceptance, type Finding, type History } from "./history.ts";

/** A clientMsgID is one notification, and nothing fails for no reason. */
export function inspectReplies({ sends }: History): Finding[] {
  const findings: Finding[] = [];
  for (const { data, attempts, recalls } of sends.values()) {
    const isFailed = [...attempts, ...recalls].some(({ errCode }) => errCode === 500);
    if (isFailed) findings.push({ what: "a call was answered with 500", device: undefined, about: [data] });
  }
  const accepted = [...sends.values()].filter((send) => acceptance(send) !== undefined);
  for (const { data, attempts } of accepted) {
    const ids = new Set(attempts.flatMap(({ outcome, serverMsgId }) => (outcome === "accepted" ? [serverMsgId] : [])));
    if (ids.size > 1) findings.push({ what: "one send has several serverMsgIDs", device: undefined, about: [data] });
  }
  for (const [clientMsgId, sharing] of Map.groupBy(accepted, (send) => send.clientMsgId)) {
    const about = sharing.map(({ data }) => data);
    if (clientMsgId === "" || about.length === 1) continue;
    findings.push({ what: "two bodies were accepted under one clientMsgID", device: undefined, about });
  }
  return findings;
}
