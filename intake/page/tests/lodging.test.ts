import assert from "node:assert/strict";
import { test } from "node:test";
import { drafts, lodge, numberIn, sealedAs } from "../src/lodging.ts";
import { Sending } from "../src/sending.ts";
import { MapStorage } from "./storage.ts";
import { SteppedClock } from "./stepped.ts";

const NUMBER = "FQEM-ZKYZ-H67M";
const BODY = '{"ballot":"tube-2025","sealed":"AAAA"}';

const line = (answer: () => Response) => ({
  fetch: async (url: string, request: RequestInit): Promise<Response> => {
    assert.equal(url, "/api/v1/complaints");
    assert.equal(request.body, BODY);
    assert.equal(request.method, "POST");
    return answer();
  },
  clock: new SteppedClock(),
});

const json = (status: number, value: unknown): (() => Response) => {
  return () => new Response(JSON.stringify(value), { status });
};

/** How the sending of a complaint has ended after so long, with these answers one after the other. */
async function endsWithin(milliseconds: number, answers: (() => Response)[]): Promise<unknown[]> {
  const clock = new SteppedClock();
  const ended: unknown[] = [];
  const fetch = async (): Promise<Response> => (answers.shift() ?? assert.fail())();
  const sending = new Sending<string>(
    BODY,
    { cast: (body) => lodge(body, { fetch, clock }), clock, random: () => 1 },
    { told: () => undefined, ended: (end) => ended.push(end) },
  );
  sending.start();
  await clock.step(milliseconds);
  return ended;
}

test("a complaint that is recorded brings its number", async () => {
  for (const status of [200, 201]) {
    assert.deepEqual(await lodge(BODY, line(json(status, { number: NUMBER }))), {
      is: "receipt",
      receipt: NUMBER,
    });
  }
});

test("whatever is not our server's answer means trying again", async () => {
  for (const answer of [
    json(201, { number: "FQEM-ZKYZ" }),
    json(201, {}),
    json(503, { error: "not_confirmed", retry: true }),
    json(429, { error: "slow_down", retry: true }),
    () => new Response("<h1>Wi-Fi login</h1>", { status: 403 }),
  ]) {
    assert.equal((await lodge(BODY, line(answer))).is, "again");
  }
});

test("a refusal in our server's words is final", async () => {
  const answer = json(400, { error: "malformed", message: "…", retry: false });
  assert.deepEqual(await lodge(BODY, line(answer)), { is: "refused", refusal: { name: "malformed" } });
});

test("the patience of a vote is a complaint's as well: the same body until its number comes", async () => {
  const answers = [json(503, {}), json(503, {}), json(201, { number: NUMBER })];
  const ended = await endsWithin(10_000, answers);
  assert.deepEqual(ended, [{ is: "received", receipt: NUMBER }]);
});

test("a draft survives a reload, one a ballot, and is gone when it is forgotten", () => {
  const storage = new MapStorage();
  const one = drafts("tube-2025", () => storage);
  one.keep({ text: "It did not open.", contact: "" });
  drafts(null, () => storage).keep({ text: "No ballot at all.", contact: "020" });
  assert.deepEqual(drafts("tube-2025", () => storage).read(), { text: "It did not open.", contact: "" });
  one.keep({ text: "It did not open.", contact: "", body: BODY });
  assert.equal(one.read().body, BODY);
  one.forget();
  assert.deepEqual(one.read(), { text: "", contact: "" });
  assert.equal(drafts(null, () => storage).read().text, "No ballot at all.");
});

test("what was sealed stays that of its words, also when it was refused", () => {
  const storage = new MapStorage();
  const one = drafts("tube-2025", () => storage);
  const words = { text: "It did not open.", contact: "" };
  one.keep({ ...words, body: BODY, stopped: true });
  const kept = one.read();
  assert.equal(kept.stopped, true);
  assert.equal(sealedAs(kept, { ...words }), BODY);
  assert.equal(sealedAs(kept, { ...words, text: "It did not open at all." }), null);
  assert.equal(sealedAs(kept, { ...words, contact: "020" }), null);
  assert.equal(sealedAs(words, words), null);
});

test("a refusal after an answer that was lost does not end a complaint's way", async () => {
  const refused = json(413, { error: "too_large", message: "…", retry: false });
  const answers = [json(503, {}), refused, json(200, { number: NUMBER })];
  const ended = await endsWithin(61_000, answers);
  assert.deepEqual(ended, [{ is: "received", receipt: NUMBER }]);
});

test("storage that is full, refused or tampered with costs the draft, nothing else", () => {
  const storage = new MapStorage();
  storage.full = true;
  drafts("x", () => storage).keep({ text: "a", contact: "" });
  const refused = drafts("x", () => {
    throw new DOMException("no", "SecurityError");
  });
  refused.keep({ text: "a", contact: "" });
  refused.forget();
  assert.deepEqual(refused.read(), { text: "", contact: "" });
  storage.full = false;
  for (const value of ["{", "[]", "null", '{"text":1,"contact":""}', '"text"']) {
    storage.setItem("complaint/x", value);
    assert.deepEqual(drafts("x", () => storage).read(), { text: "", contact: "" }, value);
  }
});

test("a number is carried to the other language once, and only a number is", () => {
  const storage = new MapStorage();
  const one = drafts("tube-2025", () => storage);
  one.carry(NUMBER);
  assert.equal(drafts(null, () => storage).carried(), null);
  assert.equal(one.carried(), NUMBER);
  assert.equal(one.carried(), null);
  one.carry("<b>");
  assert.equal(one.carried(), null);
  assert.equal(numberIn({ number: NUMBER }), NUMBER);
  for (const other of [null, NUMBER, {}, { number: 1 }, { number: `${NUMBER}-0000` }]) {
    assert.equal(numberIn(other), null);
  }
});
