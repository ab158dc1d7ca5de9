// A complaint on its way: what is kept of it in this tab until it has its number, and the request that lodges it.

import {
  type Again,
  ask,
  CAST_MILLISECONDS,
  type Line,
  member,
  type Refusal,
  refusedOrAgain,
} from "./server.ts";

/**
 * What the voter wrote; once sealed, `body` is the request, which is sent again until it is answered. A request that was
 * refused (`stopped`) stays that of its words: sent once more, it is the same complaint with the same number.
 */
export interface Draft {
  text: string;
  contact: string;
  body?: string;
  stopped?: boolean;
}

/** The request of `draft` if `words`, as they are now, are still those that were sealed in it. */
export function sealedAs(draft: Draft, words: Draft): string | null {
  const same = draft.text === words.text && draft.contact === words.contact;
  return same && draft.body !== undefined ? draft.body : null;
}

/** The draft of a complaint about one ballot, or about none. */
export interface Drafts {
  read(): Draft;
  keep(draft: Draft): void;
  forget(): void;
  /** Carries the number of a complaint that was received to the same page in the other language. */
  carry(number: string): void;
  /** The number that was carried here, once. */
  carried(): string | null;
}

/** No words at all. */
export const NOTHING: Draft = { text: "", contact: "" };

/** Drafts in what `storage` gives; where that throws, nothing is kept and only a reload loses the text. */
export function drafts(ballot: string | null, storage: () => Storage): Drafts {
  const key = `complaint/${ballot ?? ""}`;
  const carrier = `complaint-number/${ballot ?? ""}`;
  const quietly = <Result>(act: () => Result, otherwise: Result): Result => {
    try {
      return act();
    } catch {
      return otherwise;
    }
  };
  return {
    read: () => quietly(() => understood(JSON.parse(storage().getItem(key) ?? "null")), NOTHING),
    keep: (draft) => quietly(() => storage().setItem(key, JSON.stringify(draft)), undefined),
    forget: () => quietly(() => storage().removeItem(key), undefined),
    carry: (number) => quietly(() => storage().setItem(carrier, number), undefined),
    carried() {
      const number = quietly(() => storage().getItem(carrier), null);
      quietly(() => storage().removeItem(carrier), undefined);
      return numberIn({ number });
    },
  };
}

function understood(value: unknown): Draft {
  const [text, contact, body] = [member(value, "text"), member(value, "contact"), member(value, "body")];
  if (typeof text !== "string" || typeof contact !== "string") return NOTHING;
  if (typeof body !== "string") return { text, contact };
  return { text, contact, body, ...(member(value, "stopped") === true ? { stopped: true } : {}) };
}

/** What came of one try. */
export type Lodged = { is: "receipt"; receipt: string } | { is: "refused"; refusal: Refusal } | Again;

const NUMBER = /^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}$/;

/** The number of a complaint in `value`: an answer of the server, or what the history kept of the page. */
export function numberIn(value: unknown): string | null {
  const number = member(value, "number");
  return typeof number === "string" && NUMBER.test(number) ? number : null;
}

/** Sends `body`; the receipt is the complaint's number. The same body has the same number, so sending again is safe. */
export async function lodge(body: string, line: Line): Promise<Lodged> {
  const answer = await ask(line, "/api/v1/complaints", body, CAST_MILLISECONDS);
  if ("is" in answer) return answer;
  const number = answer.status === 200 || answer.status === 201 ? numberIn(answer.value) : null;
  if (number !== null) return { is: "receipt", receipt: number };
  return refusedOrAgain(answer, line.clock);
}
