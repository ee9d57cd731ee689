// @ts-check
import { attempt, element, find, onSubmit, toTime } from "./element.js";

/** Members in one answer. */
const pageSize = 100;
/** OpenIM's type of group, the only one. */
const workingGroup = 2;
/** What OpenIM calls a member by role. */
const roles = new Map([
  [100, "owner"],
  [60, "admin"],
]);

/**
 * Groups: create one, look at one, change its members, dismiss it.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} api
 */
export function openGroups(section, api) {
  const [lookForm, createForm] = /** @type {HTMLFormElement[]} */ ([...section.querySelectorAll("form")]);
  if (lookForm === undefined || createForm === undefined) throw new Error("a form is not in the page");
  const output = find(section, "output");
  const place = find(section, "#group");

  /** @param {string} groupID */
  const show = async (groupID, pageNumber = 1) => {
    const { groupInfos } = await api.post("/group/get_groups_info", { groupIDs: [groupID] });
    const [info] = groupInfos;
    if (info === undefined) throw new Error(`there is no group ${groupID}`);
    const pagination = { pageNumber, showNumber: pageSize };
    const { total, members } = await api.post("/group/get_group_member_list", { groupID, pagination });
    place.replaceChildren(draw(info, total, members, pageNumber));
  };

  /**
   * @param {HTMLElement | null} button
   * @param {string} groupID
   * @param {string} path
   * @param {object} body
   */
  const change = (button, groupID, path, body) =>
    attempt(output, button, async () => {
      await api.post(path, { groupID, ...body });
      await show(groupID);
    });

  /**
   * @param {any} info
   * @param {number} total
   * @param {any[]} members
   * @param {number} pageNumber
   */
  const draw = ({ groupID, groupName, createTime, ownerUserID }, total, members, pageNumber) => {
    const add = /** @type {HTMLFormElement} */ (
      element(
        "form",
        { class: "row", autocomplete: "off" },
        element(
          "label",
          { class: "wide" },
          "Users to add, with spaces between",
          element("input", { name: "users", required: true, spellcheck: "false" }),
        ),
        element("button", { type: "submit" }, "Add"),
      )
    );
    onSubmit(add, ({ users = "" }, button) =>
      change(button, groupID, "/group/invite_user_to_group", { invitedUserIDs: toIds(users) }),
    );
    const dismiss = element(
      "button",
      {
        type: "button",
        class: "danger",
        onclick: () => {
          if (!confirm(`Dismiss the group ${groupID}? Its id cannot be used again.`)) return;
          attempt(output, dismiss, async () => {
            await api.post("/group/dismiss_group", { groupID });
            place.replaceChildren(element("p", { class: "good" }, `${groupID} is dismissed.`));
          });
        },
      },
      "Dismiss",
    );
    const pages = [
      pageNumber > 1 ? turn("Previous", groupID, pageNumber - 1) : "",
      pageNumber * pageSize < total ? turn("Next", groupID, pageNumber + 1) : "",
    ];
    return element(
      "div",
      { class: "card" },
      element("div", { class: "head" }, element("h3", {}, groupName || groupID), dismiss),
      element(
        "p",
        { class: "hint" },
        `${groupID} · of ${ownerUserID} · ${total} members · created `,
        toTime(createTime),
      ),
      add,
      element("ul", { class: "members" }, ...members.map((member) => drawMember(groupID, member))),
      element("div", { class: "tools" }, ...pages),
    );
  };

  /**
   * @param {string} name
   * @param {string} groupID
   * @param {number} pageNumber
   */
  const turn = (name, groupID, pageNumber) =>
    element(
      "button",
      { type: "button", class: "quiet", onclick: () => attempt(output, null, () => show(groupID, pageNumber)) },
      name,
    );

  /**
   * @param {string} groupID
   * @param {any} member
   */
  const drawMember = (groupID, { userID, roleLevel }) => {
    const remove = element(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": `Remove ${userID}`,
        onclick: () => change(remove, groupID, "/group/kick_group", { kickedUserIDs: [userID] }),
      },
      "Remove",
    );
    const role = roles.get(roleLevel);
    return element(
      "li",
      {},
      element("span", { class: "member-name" }, userID),
      element("small", {}, role ?? ""),
      ...(role === "owner" ? [] : [remove]),
    );
  };

  onSubmit(lookForm, ({ group = "" }, button) => attempt(output, button, () => show(group)));
  onSubmit(createForm, ({ group = "", name = "", owner = "", users = "" }, button) =>
    attempt(output, button, async () => {
      const { groupInfo } = await api.post("/group/create_group", {
        groupInfo: { groupID: group, groupName: name || group, groupType: workingGroup },
        ownerUserID: owner,
        memberUserIDs: toIds(users),
      });
      await show(groupInfo.groupID);
    }),
  );
}

/** @param {string} text */
function toIds(text) {
  return text.split(/[\s,]+/).filter((id) => id !== "");
}
