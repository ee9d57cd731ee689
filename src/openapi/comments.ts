import type { DescEnum, DescEnumValue, DescField, DescMessage, DescMethod, DescService } from "@bufbuild/protobuf";
import { comments as auth } from "../gen/mustreach/auth/v1/auth_comments.ts";
import { comments as deadLetters } from "../gen/mustreach/delivery/v1/dead_letter_comments.ts";
import { comments as delivery } from "../gen/mustreach/delivery/v1/delivery_comments.ts";
import { comments as directory } from "../gen/mustreach/directory/v1/directory_comments.ts";
import { comments as msg } from "../gen/mustreach/msg/v1/msg_comments.ts";
import { comments as reports } from "../gen/mustreach/msg/v1/report_comments.ts";
import { comments as openim } from "../gen/mustreach/openim/v1/openim_comments.ts";

const all: Readonly<Record<string, string>> = {
  ...auth,
  ...deadLetters,
  ...delivery,
  ...directory,
  ...msg,
  ...reports,
  ...openim,
};

/** What the proto says of a message, field, enum, value, service or method: Markdown; empty when it says nothing. */
export function commentOf(desc: DescMessage | DescField | DescEnum | DescEnumValue | DescService | DescMethod): string {
  switch (desc.kind) {
    case "message":
    case "enum":
    case "service":
      return all[desc.typeName] ?? "";
    default:
      return all[`${desc.parent.typeName}.${desc.name}`] ?? "";
  }
}
