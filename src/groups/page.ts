import { wrongField } from "../errors.ts";
import type { Pagination } from "../gen/mustreach/directory/v1/directory_pb.ts";

/** Entries on a page, unless the caller says how many. */
const defaultShowNumber = 100;
const maxShowNumber = 1_000;

/** Which entries of a list are wanted. */
export interface Page {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a request's pagination; absent, it is the first page.
 *
 * @throws ArgsError (1001) for a page number or size that is out of range.
 */
export function requirePage(pagination: Pagination | undefined): Page {
  const { pageNumber = 0, showNumber = 0 } = pagination ?? {};
  if (pageNumber < 0) throw wrongField("pagination.pageNumber", "pageNumber must be 1 or more");
  if (showNumber < 0 || showNumber > maxShowNumber) {
    throw wrongField("pagination.showNumber", `showNumber must be 1 to ${maxShowNumber}`);
  }
  const size = showNumber || defaultShowNumber;
  const start = ((pageNumber || 1) - 1) * size;
  return { start, end: start + size };
}
