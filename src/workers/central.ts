import { createQuota, type Quota, type QuotaOptions } from "../admission/quota.ts";
import { createGuessLimit, type GuessLimit } from "../auth/get-admin-token.ts";
import type { BrokerPlace } from "../broker/dial.ts";
import { type Admission, type AdmissionOptions, createAdmission } from "../receiving/admission.ts";
import type { PrimaryCalls } from "./calls.ts";
import type { Link } from "./link.ts";

/** What one process counts for all: a limit of the instance holds whichever workers its callers are connected to. */
export interface Central {
  /** Creates what one worker may ask. `left` counts out all that it has let in, when its process has ended. */
  forWorker(): { readonly calls: PrimaryCalls; left(): void };
}

/** Creates the primary's half. `place` says where the embedded broker is. */
export function createCentral(limits: AdmissionOptions & QuotaOptions, place: () => BrokerPlace): Central {
  const admission = createAdmission(limits);
  const guesses = createGuessLimit();
  const quota = createQuota(limits);
  /** How many sessions each device has, by user and device, of all workers. */
  const devices = new Map<string, number>();

  return {
    forWorker() {
      const tickets = new Map<number, () => void>();
      let lastTicket = 0;
      const calls: PrimaryCalls = {
        broker: place,
        enter(applicant) {
          const device = `${applicant.device} ${applicant.userId}`;
          const isTakeover = applicant.isTakeover || devices.has(device);
          const exit = admission.enter({ ...applicant, isTakeover });
          devices.set(device, (devices.get(device) ?? 0) + 1);
          tickets.set(++lastTicket, () => {
            exit();
            const others = (devices.get(device) ?? 1) - 1;
            if (others === 0) devices.delete(device);
            else devices.set(device, others);
          });
          return lastTicket;
        },
        leave(ticket) {
          tickets.get(ticket)?.();
          tickets.delete(ticket);
        },
        checkGuess: guesses.check,
        wrongGuess: guesses.wrong,
        takeQuota: (ask) => quota?.take(ask),
      };
      const left = () => {
        for (const exit of tickets.values()) exit();
        tickets.clear();
      };
      return { calls, left };
    },
  };
}

/** The worker's half. */
export function createRemote(primary: Link<PrimaryCalls>): {
  admission: Admission;
  guesses: GuessLimit;
  quota: Quota;
} {
  let size = 0;
  const leave = (ticket: number): void => {
    size--;
    // A primary that has ended counts no more.
    primary.ask("leave", ticket).catch(() => {});
  };
  return {
    admission: {
      async enter(applicant) {
        const ticket = await primary.ask("enter", applicant);
        size++;
        return () => leave(ticket);
      },
      size: () => size,
    },
    guesses: {
      check: (peer) => primary.ask("checkGuess", peer),
      wrong: (peer) => primary.ask("wrongGuess", peer),
    },
    quota: { take: (ask) => primary.ask("takeQuota", ask) },
  };
}
