// One voter on one page for the tests: a server that answers as told, a history to go back in, and reloads.

import assert from "node:assert/strict";
import type { Answers } from "../src/answers.ts";
import type { Ballot, Question } from "../src/ballot.ts";
import type { Code } from "../src/code.ts";
import { SEED_BYTES, type Signer } from "../src/credential.ts";
import { b64url, type Bytes, hex } from "../src/encoding.ts";
import { Flow } from "../src/flow.ts";
import { memory } from "../src/memory.ts";
import { type Place, placeIn } from "../src/places.ts";
import type { Screen, Start } from "../src/screen.ts";
import type { AccessOutcome, CastOutcome, Received } from "../src/server.ts";
import { settle, SteppedClock } from "./stepped.ts";
import { MapStorage } from "./storage.ts";

/** Two codes, as printed. */
export const CODE = "0123-4567-89AB-CDEF-GHJ4";
export const OTHER_CODE = "0000-0000-0000-0000-0000";

export const RECEIPT: Received = {
  ballot: "tube-2025",
  reference: "0000-1111-2222-3333",
  accepted_at: "2026-03-01T12:00:00.123456Z",
  sealed_sha256: "ab",
};

const options = (...ids: string[]): Question["options"] => ids.map((id) => ({ id, text: id.toUpperCase() }));

export const QUESTIONS: Question[] = [
  { id: "strike", text: "Strike?", form: "single", options: options("yes", "no") },
  { id: "committee", text: "Who?", form: "multiple", max: 2, options: options("a", "b", "c") },
  { id: "order", text: "In what order?", form: "ranked", options: options("x", "y", "constructor") },
];

const BALLOT: Ballot = {
  id: "tube-2025",
  title: "Pay",
  kind: "election",
  scrutineer: "S",
  contact: "help@scrutineer.example",
  opens: "2026-03-01T09:00:00Z",
  closes: "2026-03-09T09:00:00Z",
  methods: ["electronic"],
  questions: QUESTIONS,
  definitionSha256: "00".repeat(32),
  paddedSize: 128,
  publicKey: new Uint8Array(32),
  suite: "none",
};

/** What a chosen option stands as. */
export const chosen = (...ids: string[]): Record<string, string> =>
  Object.fromEntries(ids.map((id) => [id, "chosen"]));

// Not the browser's cryptography, which takes as long as it likes: here whatever can go on has done so when it settles.

function seedFrom(code: Code): Bytes {
  const seed = new Uint8Array(SEED_BYTES);
  seed.set(code.keyMaterial());
  return seed.map((byte) => byte ^ 0x55);
}

function signerFrom(seed: Bytes): Signer {
  return { credential: seed, credentialSha256: hex(seed), sign: async () => seed };
}

/** A tab: its storage and history outlive the pages that are loaded in it. */
export class Traveller {
  readonly clock = new SteppedClock();
  readonly storage = new MapStorage();
  storageRefused = false;
  closed: string | null = null;
  trusted = true;
  sealing: () => Promise<void> = () => Promise.resolve();
  access: () => AccessOutcome | Promise<AccessOutcome> = () => ({ is: "ready" });
  cast: () => CastOutcome | Promise<CastOutcome> = () => ({ is: "receipt", receipt: RECEIPT });
  readonly credentials: string[] = [];
  readonly bodies: string[] = [];
  readonly sealed: Answers[] = [];
  shown: Screen[] = [];
  entries: (Place | null)[] = [null];
  at = 0;
  /** The page that is loaded; whatever one before it still does shows nowhere. */
  #loaded: symbol | null = null;
  flow: Flow = this.#page();

  /** The screen now. */
  get screen(): Screen {
    return this.shown[this.shown.length - 1] ?? assert.fail("nothing is shown");
  }

  /** The screen in a word: its name and, for a question, which. */
  get where(): string {
    const screen = this.screen;
    return screen.is === "question" ? `question ${screen.index}` : screen.is;
  }

  /** The start screen, which must be the one now. */
  start(): Start {
    const { screen } = this;
    return screen.is === "start" ? screen : assert.fail(`this is ${screen.is}`);
  }

  /** Everything that outlives a page. */
  get left(): string {
    return this.storage.all + JSON.stringify(this.entries);
  }

  /** Loads the page, in the entry of the history where the voter is; whatever the page before did, it is gone. */
  async load(link: string | null = null): Promise<void> {
    this.shown = [];
    this.flow = this.#page();
    await this.flow.begin(link, this.#place());
    await settle();
  }

  /** Follows a link to the same ballot: a new entry of the history. */
  async follow(link: string | null = null): Promise<void> {
    this.entries = [...this.entries.slice(0, this.at + 1), null];
    this.at += 1;
    await this.load(link);
  }

  /** The browser's Back (-1) or Forward (1), within the page. */
  go(steps: number): void {
    this.at += steps;
    const place = this.#place() ?? assert.fail("this leads out of the page");
    this.flow.travelled(place);
  }

  /** From the link to the check, answering every question. */
  async answers(): Promise<void> {
    await this.load(CODE);
    await this.flow.start(null);
    this.flow.answer(0, chosen("yes"));
    this.flow.answer(1, chosen("c", "a"));
    this.flow.answer(2, { x: "2", constructor: "1" });
    assert.equal(this.where, "check");
  }

  #place(): Place | null {
    return placeIn(structuredClone(this.entries[this.at]));
  }

  #page(): Flow {
    const page = Symbol("page");
    this.#loaded = page;
    const { clock } = this;
    return new Flow({
      ballot: BALLOT,
      closed: this.closed,
      crypto: {
        seedOf: async (code) => seedFrom(code),
        signer: async (seed) => signerFrom(seed),
        seal: async (_ballot, { credential }, answers) => {
          await this.sealing();
          this.sealed.push(answers);
          return { body: `{"vote":${this.sealed.length},"by":"${b64url(credential)}"}`, sealedSha256: "ab" };
        },
        verifyReceipt: async () => assert.ok(this.trusted),
      },
      memory: memory(BALLOT.id, () => {
        if (this.storageRefused) throw new DOMException("no", "SecurityError");
        return this.storage;
      }),
      server: {
        access: async (credential) => {
          this.credentials.push(credential);
          return this.access();
        },
        cast: async (body) => {
          this.bodies.push(body);
          return this.cast();
        },
      },
      places: {
        push: (place) => {
          this.entries = [...this.entries.slice(0, this.at + 1), place];
          this.at += 1;
        },
        replace: (place) => (this.entries[this.at] = place),
      },
      clock,
      random: () => 1,
      show: (screen) => {
        if (this.#loaded === page) this.shown.push(screen);
      },
    });
  }
}
