import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { PaginationSchema } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import { requirePage } from "../../src/groups/requests.ts";

const page = (pageNumber: number, showNumber: number) =>
  requirePage(create(PaginationSchema, { pageNumber, showNumber }));

test("without a pagination it is the first hundred", () => {
  expect(requirePage(undefined)).toEqual({ start: 0, end: 100 });
  expect(page(0, 0)).toEqual({ start: 0, end: 100 });
});

test.each([
  [1, 10, 0, 10],
  [3, 10, 20, 30],
  [0, 1_000, 0, 1_000],
  [2, 0, 100, 200],
  [2_147_483_647, 1_000, 2_147_483_646_000, 2_147_483_647_000],
])("page %d of %d entries is %d to %d", (pageNumber, showNumber, start, end) => {
  expect(page(pageNumber, showNumber)).toEqual({ start, end });
});

test.each([
  ["pageNumber", -1, 10],
  ["showNumber", 1, -1],
  ["showNumber", 1, 5_001],
])("a bad %s is 1001 (%d, %d)", (field, pageNumber, showNumber) => {
  let thrown: unknown;
  try {
    page(pageNumber, showNumber);
  } catch (error) {
    thrown = error;
  }
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(field) });
});
