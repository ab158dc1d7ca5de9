// Times as a voter reads them: the clock on the wall in London, whatever the device thinks the time zone is.

import { language } from "./language.ts";

const FORMS = {
  minute: { hour: "2-digit", minute: "2-digit" },
  second: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
} as const;

/** `time` (RFC 3339) as a date and time in London; as it is, if the device cannot. */
export function inLondon(time: string, exact: keyof typeof FORMS = "minute"): string {
  const date = new Date(time.replace(/(\.\d{3})\d+/, "$1")); // some browsers read no more than three decimals
  try {
    return new Intl.DateTimeFormat(language() === "cy" ? "cy-GB" : "en-GB", {
      timeZone: "Europe/London",
      weekday: "long",
      day: "numeric",
      month: "long",
      year: "numeric",
      hourCycle: "h23",
      ...FORMS[exact],
    }).format(date);
  } catch {
    return time;
  }
}
