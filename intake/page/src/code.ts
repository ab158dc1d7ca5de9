// The access code: what a voter holds, and how a slip is caught before anything is sent.
//
// The code itself is never sent, stored or logged: only the credential that comes from it leaves this device.

import { utf8 } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";

const SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_SYMBOLS = 20;
const FIELD_POLYNOMIAL = 0b100101;

// Spaces and hyphens of every kind, and what is invisible and comes along with copied text.
const IGNORED = /[\s\u001c-\u001f\u0085\u00ad\u200b-\u200f\u2010-\u2014\u2060\u2212\ufeff-]/u;
const READ_AS = new Map<string, string>();
for (const symbol of SYMBOLS) READ_AS.set(symbol, symbol).set(symbol.toLowerCase(), symbol);
for (const typed of "Oo") READ_AS.set(typed, "0");
for (const typed of "IiLl") READ_AS.set(typed, "1");

/** What a slip is: a symbol that is never used, too many or too few of them, or one that is not right. */
export type Slip = "symbols" | "length" | "check";

/** What was typed is not an access code: which `slip` it is, never what was typed. `count` symbols were read. */
export class CodeMistyped extends Error {
  override name = "CodeMistyped";
  readonly slip: Slip;
  readonly count: number;

  constructor(slip: Slip, count: number) {
    super(`This is not an access code (${slip}).`);
    this.slip = slip;
    this.count = count;
  }
}

/** An access code: 19 random symbols and a check symbol. Only `grouped` and `keyMaterial` tell it. */
export class Code {
  readonly #symbols: string;

  private constructor(symbols: string) {
    this.#symbols = symbols;
  }

  /** The code a person typed, in any case and grouping; CodeMistyped otherwise. */
  static parse(text: string): Code {
    const { symbols, unknown } = read(text);
    if (unknown) throw new CodeMistyped("symbols", symbols.length + unknown);
    if (symbols.length !== CODE_SYMBOLS) throw new CodeMistyped("length", symbols.length);
    if (checkSymbol(symbols.slice(0, -1)) !== symbols.slice(-1))
      throw new CodeMistyped("check", symbols.length);
    return new Code(symbols);
  }

  /** The code as printed: five groups of four. */
  grouped(): string {
    return grouped(this.#symbols);
  }

  /** The 20 symbols as bytes, from which the signing key is derived; whoever asks sets them to zero after use. */
  keyMaterial(): Bytes {
    return utf8(this.#symbols);
  }

  toString(): string {
    return "<Code redacted>";
  }

  toJSON(): string {
    return this.toString();
  }
}

/** The symbols in `text` in canonical upper case, and how many others there are that are never used. */
export function read(text: string): { symbols: string; unknown: number } {
  let symbols = "";
  let unknown = 0;
  for (const typed of text) {
    if (IGNORED.test(typed)) continue;
    const symbol = READ_AS.get(typed);
    if (symbol === undefined) unknown += 1;
    else symbols += symbol;
  }
  return { symbols, unknown };
}

/** `symbols` in groups of four with hyphens: a code or a reference as it is printed. */
export function grouped(symbols: string): string {
  return (symbols.match(/.{1,4}/g) ?? []).join("-");
}

/**
 * The check symbol of 19 canonical `symbols`: the sum of alpha^(i+1) x_i over GF(32), by Horner's rule from the last.
 *
 * It catches every single wrong symbol and every swap of neighbours.
 */
export function checkSymbol(symbols: string): string {
  let total = 0;
  for (const symbol of [...symbols].reverse()) total = timesAlpha(total ^ SYMBOLS.indexOf(symbol));
  return SYMBOLS.charAt(total);
}

function timesAlpha(value: number): number {
  const doubled = value << 1;
  return doubled & 32 ? doubled ^ FIELD_POLYNOMIAL : doubled;
}
