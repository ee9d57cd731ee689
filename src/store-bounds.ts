import type { StreamBound } from "./broker/inspection/require-room.ts";
import { chatStream } from "./chat/layout.ts";
import type { Config } from "./config.ts";
import { groupsStream } from "./groups/layout.ts";
import { fanoutStream, scheduleStream } from "./sending/layout.ts";

/** Records of groups: one for each membership, up to 1,000 for the members of a group, and one for itself. */
const maxGroupRecords = 10_000_000;

/** Chat copies, with up to five records for each. */
const maxChatRecords = 50_000_000;

/** Sends to groups and lists that wait to be expanded, and as many that wait for their time. */
const maxJobs = 1_000_000;

/** What these hold at most. A message takes about 270 bytes of the broker's memory, however small it is. */
export function storeBounds(config: Config): readonly StreamBound[] {
  const { maxStoreBytes, maxGroupsBytes, maxChatBytes = maxStoreBytes, maxJobsBytes } = config;
  const jobs = {
    maxBytes: maxJobsBytes ?? Math.ceil(maxStoreBytes / 10),
    maxMessages: maxJobs,
    setting: "MUSTREACH_MAX_JOBS_BYTES",
  };
  return [
    {
      stream: groupsStream,
      maxBytes: maxGroupsBytes,
      maxMessages: maxGroupRecords,
      setting: "MUSTREACH_MAX_GROUPS_BYTES",
    },
    { stream: chatStream, maxBytes: maxChatBytes, maxMessages: maxChatRecords, setting: "MUSTREACH_MAX_CHAT_BYTES" },
    { stream: fanoutStream, ...jobs },
    { stream: scheduleStream, ...jobs },
  ];
}
