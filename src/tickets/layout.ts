import type { StreamSpec } from "../broker/declare.ts";

/** How long it is kept that a ticket was used, in milliseconds: longer than any is good for, on clocks that differ. */
const recordMs = 120_000;

/** Where it is recorded that a ticket was used. */
export function ticketSubject(id: string): string {
  return `ticket.${id}`;
}

export const ticketsSpecs: readonly StreamSpec[] = [
  { name: "TICKETS", description: "the tickets that were used", subjects: ["ticket.*"], maxAgeMs: recordMs },
];
