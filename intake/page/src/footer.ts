// The scrutineer's contact as the server wrote it at the foot of every page, for the screens that repeat it.

import { text } from "./language.ts";

/** A copy of the contact, its links included; where no ballot is known, where to find it. */
export function footerContact(): Node {
  const written = document.querySelector("footer .contact");
  return written?.cloneNode(true) ?? document.createTextNode(text("contact.letter"));
}
