import { Command } from "commander";
import { GroupService } from "../../gen/mustreach/directory/v1/directory_pb.ts";
import { adminUserId, tokenOption, urlOption } from "../options.ts";
import { print } from "../print.ts";
import { type AdminFlags, openAdminService } from "./admin.ts";

interface CreateFlags extends AdminFlags {
  readonly owner?: string;
  readonly name?: string;
}

/** Members in one answer of the service: the most that it gives. */
const pageSize = 1_000;

/** `group`: keeps the groups that notifications can be sent to. */
export function groupCommand(): Command {
  return new Command("group")
    .description("groups that notifications can be sent to")
    .addCommand(createCommand())
    .addCommand(addCommand())
    .addCommand(removeCommand())
    .addCommand(listCommand());
}

/** `group create`: prints the new group as a line of JSON. */
function createCommand(): Command {
  return new Command("create")
    .description("create a group with its first members")
    .argument("<group>", "its id")
    .argument("[users...]", "its first members")
    .option("--owner <user>", "its owner, a member as well (default: the first admin)")
    .option("--name <name>", "its name, for people")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (groupId: string, memberUserIds: string[], { owner, name, ...flags }: CreateFlags) => {
      const { service, options } = await openAdminService(GroupService, flags);
      const groupInfo = { groupId, groupName: name ?? groupId, groupType: 2 };
      const ownerUserId = owner ?? adminUserId();
      const created = await service.createGroup({ groupInfo, ownerUserId, memberUserIds }, options);
      print({ groupID: created.groupInfo?.groupId, memberCount: created.groupInfo?.memberCount });
    });
}

/** `group add`: adds members. */
function addCommand(): Command {
  return new Command("add")
    .description("add members to a group")
    .argument("<group>", "its id")
    .argument("<users...>", "who is to be a member")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (groupId: string, invitedUserIds: string[], flags: AdminFlags) => {
      const { service, options } = await openAdminService(GroupService, flags);
      await service.addMembers({ groupId, invitedUserIds }, options);
    });
}

/** `group remove`: removes members. */
function removeCommand(): Command {
  return new Command("remove")
    .description("remove members from a group")
    .argument("<group>", "its id")
    .argument("<users...>", "who is to be a member no longer")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (groupId: string, kickedUserIds: string[], flags: AdminFlags) => {
      const { service, options } = await openAdminService(GroupService, flags);
      await service.removeMembers({ groupId, kickedUserIds }, options);
    });
}

/** `group list`: prints the members of a group, or the groups of a user, a line of JSON each. */
function listCommand(): Command {
  return new Command("list")
    .description("print the members of a group, or the groups of a user, one line of JSON each")
    .option("--group <group>", "whose members")
    .option("--user <user>", "whose groups")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async ({ group, user, ...flags }: AdminFlags & { group?: string; user?: string }, command: Command) => {
      if ((group === undefined) === (user === undefined)) command.error("error: give --group <group> or --user <user>");
      const { service, options } = await openAdminService(GroupService, flags);
      for (let pageNumber = 1; ; pageNumber++) {
        const pagination = { pageNumber, showNumber: pageSize };
        const lines =
          group === undefined
            ? (await service.listGroups({ fromUserId: user ?? "", pagination }, options)).groups.map((info) => ({
                groupID: info.groupId,
                groupName: info.groupName,
                memberCount: info.memberCount,
              }))
            : (await service.listMembers({ groupId: group, pagination }, options)).members.map((member) => ({
                userID: member.userId,
                roleLevel: member.roleLevel,
                joinTime: Number(member.joinTime),
              }));
        for (const line of lines) print(line);
        if (lines.length < pageSize) return;
      }
    });
}
