// The two requests of a vote, with what each answer means for the voter: nothing here throws, and nothing waits for ever.
//
// Only a refusal in our own server's words is final. A page of a hospital's Wi-Fi or of a proxy that happens to have
// status 403 or 200 says nothing about the vote: it counts as a connection that was lost, and the vote is sent again.

import type { Clock } from "./clock.ts";

/** The refusals that no retry changes, by the name that the server gives them. */
export const FINAL = [
  "malformed",
  "method_not_allowed",
  "not_accepted",
  "not_found",
  "not_open",
  "too_large",
  "unsupported_type",
] as const;

/** The name of a final refusal. */
export type RefusalName = (typeof FINAL)[number];

/** A final refusal; the times are those of a ballot that is not open. */
export interface Refusal {
  name: RefusalName;
  opens?: string;
  closes?: string;
  /** Of a ballot that is not open: whether it will be. */
  early?: boolean;
}

/**
 * Why a request has to be made again: no answer in time, no connection, or a server that cannot answer just now. Of a
 * vote also `unclear`: refused when an earlier try may have been received; `unconfirmed`: a receipt that does not verify.
 */
export type Cause = "slow" | "lost" | "busy" | "unclear" | "unconfirmed";

/** To be tried again, and how long the server asked to be left alone. */
export interface Again {
  is: "again";
  cause: Cause;
  retryAfter: number;
}

/** What came of asking whether a code would be taken. */
export type AccessOutcome = { is: "ready" } | { is: "refused"; refusal: Refusal } | Again;

/** What came of sending a vote. The receipt has the form of one; whether it is true is for others to say. */
export type CastOutcome = { is: "receipt"; receipt: Received } | { is: "refused"; refusal: Refusal } | Again;

/** A receipt as it was received: the members that are shown, and every other as it came. */
export interface Received {
  readonly reference: string;
  readonly accepted_at: string;
  readonly [member: string]: unknown;
}

/** The two requests. */
export interface Server {
  access(credentialSha256: string): Promise<AccessOutcome>;
  cast(body: string): Promise<CastOutcome>;
}

/** What a server is asked with. */
export interface Line {
  fetch: (url: string, request: RequestInit) => Promise<Response>;
  clock: Clock;
}

/** How long an answer to a vote may take, body included. */
export const CAST_MILLISECONDS = 20_000;
/** Shorter: the voter is waiting to begin, and may begin without it. */
export const ACCESS_MILLISECONDS = 10_000;
/** No answer of ours is longer; one that has no end is not waited for. */
export const ANSWER_BYTES_MAX = 65_536;
/** What a proxy may ask for at most: the voter's ballot may be about to close. */
export const RETRY_AFTER_MILLISECONDS_MAX = 300_000;

const REFERENCE = /^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/** An answer as it came. */
export interface Answer {
  status: number;
  value: unknown;
  retryAfter: number;
}

/** The requests about `ballot`, at the server that the page came from. */
export function server(ballot: string, line: Line): Server {
  const address = `/api/v1/ballots/${ballot}`;
  return {
    async access(credentialSha256) {
      const body = JSON.stringify({ credential_sha256: credentialSha256 });
      const answer = await ask(line, `${address}/access`, body, ACCESS_MILLISECONDS);
      if ("is" in answer) return answer;
      if (answer.status === 200 && member(answer.value, "state") === "ready") return { is: "ready" };
      return refusedOrAgain(answer, line.clock);
    },
    async cast(body) {
      const answer = await ask(line, `${address}/votes`, body, CAST_MILLISECONDS);
      if ("is" in answer) return answer;
      const receipt = answer.status === 200 || answer.status === 201 ? received(answer.value) : null;
      return receipt === null ? refusedOrAgain(answer, line.clock) : { is: "receipt", receipt };
    },
  };
}

/** `value` if it has the form of a receipt. */
export function received(value: unknown): Received | null {
  const reference = member(value, "reference");
  const accepted = member(value, "accepted_at");
  if (typeof reference !== "string" || !REFERENCE.test(reference)) return null;
  if (typeof accepted !== "string" || !TIME.test(accepted)) return null;
  return value as Received;
}

/** Asks `url`: a POST of `body`, or a GET without one. */
export async function ask(
  line: Line,
  url: string,
  body: string | null,
  milliseconds: number,
): Promise<Answer | Again> {
  const stop = new AbortController();
  let cancel = (): void => undefined;
  const late = new Promise<Again>((resolve) => {
    cancel = line.clock.after(milliseconds, () => {
      resolve({ is: "again", cause: "slow", retryAfter: 0 });
      stop.abort();
    });
  });
  try {
    return await Promise.race([late, answered(line, url, body, stop.signal)]);
  } catch {
    return { is: "again", cause: "lost", retryAfter: 0 };
  } finally {
    cancel();
  }
}

async function answered(
  line: Line,
  url: string,
  body: string | null,
  signal: AbortSignal,
): Promise<Answer | Again> {
  const response = await line.fetch(url, {
    ...(body === null ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body }),
    signal,
    mode: "same-origin",
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
    referrerPolicy: "no-referrer",
  });
  const wait = retryAfter(response.headers.get("Retry-After"), line.clock);
  const text = await textOf(response);
  if (text === null) return { is: "again", cause: "busy", retryAfter: wait };
  return { status: response.status, value: parsed(text), retryAfter: wait };
}

/** The answer's body, of which no more is read than an answer of ours may have; null if there is more. */
async function textOf(response: Response): Promise<string | null> {
  const reader = response.body?.getReader();
  if (reader === undefined) return "";
  const decoder = new TextDecoder();
  let text = "";
  for (let bytes = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytes += value.length;
    if (bytes > ANSWER_BYTES_MAX) {
      void reader.cancel().catch(() => undefined);
      return null;
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** What an answer means that did not bring what was asked for: final only in our own server's words. */
export function refusedOrAgain(answer: Answer, clock: Clock): { is: "refused"; refusal: Refusal } | Again {
  const { status, value } = answer;
  const again: Again = { is: "again", cause: "busy", retryAfter: answer.retryAfter };
  const name = FINAL.find((final) => final === member(value, "error"));
  if (status < 400 || status >= 500 || name === undefined || member(value, "retry") === true) return again;
  const refusal: Refusal = { name };
  if (name === "not_open") {
    const opens = member(value, "opens");
    const closes = member(value, "closes");
    if (typeof opens === "string") refusal.opens = opens;
    if (typeof closes === "string") refusal.closes = closes;
    refusal.early = isEarly(member(value, "state"), refusal.opens, clock);
  }
  return { is: "refused", refusal };
}

/** As the server says; one that does not say leaves it to the device's clock. */
function isEarly(state: unknown, opens: string | undefined, clock: Clock): boolean {
  if (typeof state === "string") return state === "scheduled";
  return opens !== undefined && clock.now() < Date.parse(opens);
}

function retryAfter(asked: string | null, clock: Clock): number {
  if (asked === null) return 0;
  const wait = /^\d+$/.test(asked.trim()) ? Number(asked) * 1000 : Date.parse(asked) - clock.now();
  return Number.isNaN(wait) ? 0 : Math.min(Math.max(wait, 0), RETRY_AFTER_MILLISECONDS_MAX);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The member `name` of `value`, if it is an object that has one. */
export function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
