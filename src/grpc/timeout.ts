/** Milliseconds of each unit of `grpc-timeout`. */
const units: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Reads `grpc-timeout`: up to 8 digits and a unit. The result is in milliseconds; NaN for what is none.
 *
 * Zero is taken, although the protocol asks for a positive number: clients send it when their time is up.
 */
export function readTimeout(value: string): number {
  const digits = value.length - 1;
  if (digits < 1 || digits > 8) return Number.NaN;
  let number = 0;
  for (let i = 0; i < digits; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return Number.NaN;
    number = number * 10 + digit;
  }
  return number * (units[value.charAt(digits)] ?? Number.NaN);
}
