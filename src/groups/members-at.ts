import type { DirectGet } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { deadlineIn } from "../deadline.ts";
import { groupFilter } from "./layout.ts";
import { type GroupSnapshot, readGroup } from "./reads.ts";
import { isMemberAt, type Member, type Membership } from "./records.ts";

interface MembersAtOptions {
  /** How long a read may take, in milliseconds. */
  readonly timeoutMs: number;
  /** The members of the groups used last are kept in memory, up to this many over all groups. Default 1,000,000. */
  readonly maxCachedMembers?: number;
}

/**
 * The members of a group at a version, in an order that is the same every time: records in the order of their
 * subjects, and in a record by user id.
 *
 * Throws NetworkError (90004) when the broker does not answer, or does not have the version, in time.
 */
export type MembersAt = (groupId: string, version: number) => Promise<readonly Member[]>;

/** All members of a group, as last read. */
interface Image {
  readonly version: number;
  readonly sequence: number;
  readonly memberships: ReadonlyMap<string, readonly Membership[]>;
  readonly size: number;
  /** The answer given last. */
  answer: { readonly version: number; readonly members: readonly Member[] } | undefined;
}

/**
 * Creates the reader of members. A group that was read before costs nothing while its version is the same, and then
 * one read of the records that changed.
 */
export function createMembersAt(get: DirectGet, options: MembersAtOptions): MembersAt {
  const { timeoutMs, maxCachedMembers = 1_000_000 } = options;
  /** By group id; the one used last is last. */
  const images = new Map<string, Image>();
  const loading = new Map<string, Promise<Image>>();
  let size = 0;

  const keep = (groupId: string, image: Image) => {
    size += image.size - (images.get(groupId)?.size ?? 0);
    images.delete(groupId);
    images.set(groupId, image);
    for (const [oldest, { size: freed }] of images) {
      if (size <= maxCachedMembers) break;
      images.delete(oldest);
      size -= freed;
    }
  };

  const load = async (groupId: string, version: number): Promise<Image> => {
    const before = images.get(groupId);
    const snapshot = await readGroup(get, groupId, {
      subjects: [groupFilter(toToken(groupId))],
      after: before?.sequence ?? 0,
      minVersion: version,
      deadline: deadlineIn(timeoutMs),
    });
    return toImage(snapshot, before);
  };

  /** One read at a time for each group: who comes meanwhile looks at its result first. */
  const loadOnce = (groupId: string, version: number): Promise<Image> => {
    let promise = loading.get(groupId);
    if (promise === undefined) {
      promise = load(groupId, version).finally(() => loading.delete(groupId));
      loading.set(groupId, promise);
    }
    return promise;
  };

  return async (groupId, version) => {
    let image = images.get(groupId);
    while (image === undefined || image.version < version) image = await loadOnce(groupId, version);
    if (image.version >= (images.get(groupId)?.version ?? 0)) keep(groupId, image);
    if (image.answer?.version !== version) image.answer = { version, members: listMembers(image, version) };
    return image.answer.members;
  };
}

function toImage({ group, sequence, memberships: changed }: GroupSnapshot, before: Image | undefined): Image {
  const memberships = new Map([...(before?.memberships ?? []), ...changed]);
  const size = memberships.values().reduce((sum, record) => sum + record.length, 0);
  return { version: group?.version ?? 0, sequence, memberships, size, answer: undefined };
}

function listMembers({ memberships }: Image, version: number): Member[] {
  const inOrder = [...memberships].sort(([a], [b]) => (a < b ? -1 : 1));
  return inOrder.flatMap(([, record]) => record.filter((one) => isMemberAt(one, version)));
}
