// Times as a voter reads them: the clock on the wall in London, whatever the device thinks the time zone is.
//
// Only the numbers come from the device: many browsers do not know the Welsh names of days and months.

import { text, type TextKey } from "./language.ts";

/** From Sunday on, as Date counts. */
const WEEKDAYS: readonly TextKey[] = [
  "time.sunday",
  "time.monday",
  "time.tuesday",
  "time.wednesday",
  "time.thursday",
  "time.friday",
  "time.saturday",
];
const MONTHS: readonly TextKey[] = [
  "time.january",
  "time.february",
  "time.march",
  "time.april",
  "time.may",
  "time.june",
  "time.july",
  "time.august",
  "time.september",
  "time.october",
  "time.november",
  "time.december",
];

/** `time` (RFC 3339) as a date and time in London, for the middle of a sentence; as it is, if the device cannot. */
export function inLondon(time: string, exact: "minute" | "second" = "minute"): string {
  const date = new Date(time.replace(/(\.\d{3})\d+/, "$1")); // some browsers read no more than three decimals
  try {
    const [year, month, day, hour, minute, second] = numbers(date);
    const weekday = WEEKDAYS[new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDay()];
    const name = MONTHS[Number(month) - 1];
    if (weekday === undefined || name === undefined) return time;
    const clock = exact === "second" ? `${hour}:${minute}:${second}` : `${hour}:${minute}`;
    return text("time.whole", {
      weekday: text(weekday),
      day: Number(day),
      month: text(name),
      year: Number(year),
      clock,
    });
  } catch {
    return time;
  }
}

/** Year, month, day, hour, minute and second in London, in digits. */
function numbers(date: Date): string[] {
  const form = new Intl.DateTimeFormat("en-GB", {
    timeZone: "Europe/London",
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
  const parts = new Map(form.formatToParts(date).map(({ type, value }) => [type, value]));
  return (["year", "month", "day", "hour", "minute", "second"] as const).map((type) => parts.get(type) ?? "");
}
