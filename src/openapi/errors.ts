import { errorTable } from "../errors.ts";
import type { JsonSchema } from "./json-schema.ts";

/** What each error means, by its name; test/openapi/openapi.test.ts holds that none is missing. */
export const errorMeanings: Readonly<Record<keyof typeof errorTable, string>> = {
  ServerInternalError: "a mistake of the service",
  ArgsError: "an argument is missing or wrong, or there is no token",
  NoPermissionError: "the token is not an admin's, or the secret is wrong",
  DuplicateKeyError: "the `clientMsgID` was accepted before with another body",
  RecordNotFoundError: "there is no such group, or notification",
  GroupIDExisted: "the group exists, or has existed",
  NotInGroupYetError: "the user is no member of the group",
  DismissedAlreadyError: "the group was dismissed",
  TokenExpiredError: "the token has expired",
  TokenInvalidError: "the token is not valid",
  TokenMalformedError: "the token cannot be read",
  TokenNotValidYetError: "the token is not valid yet",
  TokenUnknownError: "the token was not signed with a key of this service",
  TokenKickedError: "the token was revoked",
  TokenNotExistError: "the token is not known",
  ConnOverMaxNumLimit: "too many sessions",
  TooManyRequestsError: "too many calls",
  NetworkError: "the broker is away or has not answered in time: what was asked may have been done",
  StoreFullError: "the store is full: nothing was stored",
  BrokerRefusedError: "the broker refuses what was asked, and would again",
  ServerStoppingError: "this instance is stopping: nothing was done",
  IdentityProviderError: "the identity provider's keys cannot be fetched",
};

const rows = Object.entries(errorTable).toSorted(([, a], [, b]) => a.errCode - b.errCode);

/** The envelope of an error. */
export const errorSchema: JsonSchema = {
  title: "Error",
  description: "A call that was refused, or has failed. It has no `data`.",
  type: "object",
  properties: {
    errCode: { type: "integer", enum: rows.map(([, { errCode }]) => errCode), description: toTable() },
    errMsg: { type: "string", enum: rows.map(([name]) => name), description: "The error's name." },
    errDlt: { type: "string", description: "What was wrong, and what was expected, for people." },
  },
  required: ["errCode", "errMsg", "errDlt"],
};

function toTable(): string {
  const lines = rows.map(([name, { errCode }]) => {
    const meaning = Object.entries(errorMeanings).find(([known]) => known === name)?.[1];
    return `- \`${errCode}\` ${name}: ${meaning}`;
  });
  return `What went wrong.\n\n${lines.join("\n")}`;
}
