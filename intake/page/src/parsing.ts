// From `unknown` to a checked type, or Malformed: nothing half-made ever comes out.

import { Malformed } from "./encoding.ts";
import { ID_CHARS_MAX } from "./limits.ts";

/** An object of which every member's name is known. */
export type Members<Name extends string> = Record<Name, unknown>;

const ID = new RegExp(`^[a-z0-9-]{1,${ID_CHARS_MAX}}$`);

/** `value` as an object with all of `names`, any of `optional`, and nothing else. */
export function object<Name extends string, Optional extends string = never>(
  value: unknown,
  names: readonly Name[],
  optional: readonly Optional[] = [],
): Members<Name> & Partial<Members<Optional>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Malformed("This is not an object.");
  const given = new Set(Object.keys(value));
  const wanted = names.filter((name) => given.has(name)).length;
  const allowed = optional.filter((name) => given.has(name)).length;
  if (wanted !== names.length || wanted + allowed !== given.size) {
    throw new Malformed("This object has not the members that it should have.");
  }
  return value as Members<Name> & Partial<Members<Optional>>;
}

/** `value` as a list of `least` to `most` things, each read by `read`. */
export function list<Item>(
  value: unknown,
  least: number,
  most: number,
  read: (item: unknown) => Item,
): Item[] {
  if (!Array.isArray(value) || value.length < least || value.length > most) {
    throw new Malformed("This is not a list of the right length.");
  }
  return value.map(read);
}

/** `value` as text. */
export function string(value: unknown): string {
  if (typeof value !== "string") throw new Malformed("This is not text.");
  return value;
}

/** `value` as one of `allowed`. */
export function oneOf<Allowed extends string>(value: unknown, allowed: readonly Allowed[]): Allowed {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw new Malformed("This is none of the words that may stand here.");
  return found;
}

/** `value` as an id: 1 to 40 of a-z, 0-9 and -. */
export function id(value: unknown): string {
  const text = string(value);
  if (!ID.test(text)) throw new Malformed("This is not an id.");
  return text;
}

/** `value` as a time in UTC ending in Z, with `decimals` decimals, that the calendar has. */
export function time(value: unknown, decimals: 0 | 6): string {
  const text = string(value);
  const form = decimals ? /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/ : /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
  const seconds = `${text.slice(0, 19)}.000Z`;
  const at = new Date(seconds);
  if (!form.test(text) || Number.isNaN(at.getTime()) || at.toISOString() !== seconds) {
    throw new Malformed("This is not a time in UTC.");
  }
  return text;
}

/** Raise Malformed if two of `values` are the same. */
export function allDifferent(values: readonly string[]): void {
  if (new Set(values).size !== values.length) throw new Malformed("The same id stands here twice.");
}
