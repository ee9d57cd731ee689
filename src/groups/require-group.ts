import { failure } from "../errors.ts";
import type { Group, Groups } from "./groups.ts";

/**
 * Finds a group that can be used.
 *
 * @throws RecordNotFoundError (1004) for an unknown group, DismissedAlreadyError (1204) for a dismissed one.
 */
export async function requireGroup(groups: Pick<Groups, "find">, groupId: string): Promise<Group> {
  const group = await groups.find(groupId);
  if (group === undefined) throw failure("RecordNotFoundError", "the group does not exist");
  if (group.status === "dismissed") throw failure("DismissedAlreadyError", "the group was dismissed");
  return group;
}
