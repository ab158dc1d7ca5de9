import assert from "node:assert/strict";
import { test } from "node:test";
import { ACCESS_TRIES } from "../src/access.ts";
import type { Again } from "../src/server.ts";
import { promised, settle } from "./stepped.ts";
import { chosen, CODE, OTHER_CODE, RECEIPT, Traveller } from "./traveller.ts";

const lost: Again = { is: "again", cause: "lost", retryAfter: 0 };
const refused = (name: "not_accepted" | "malformed"): { is: "refused"; refusal: { name: typeof name } } => ({
  is: "refused",
  refusal: { name },
});
const ALL = { strike: ["yes"], committee: ["a", "c"], order: ["constructor", "x"] };

test("from the link to the receipt", async () => {
  const voter = new Traveller();
  await voter.load(CODE);
  assert.deepEqual(voter.screen, {
    is: "start",
    held: true,
    slip: null,
    typed: "",
    access: "idle",
    opens: null,
  });
  await voter.answers();
  await voter.flow.submit();
  await settle();
  assert.deepEqual(voter.screen, { is: "done", receipt: RECEIPT });
  assert.deepEqual(voter.sealed, [ALL]);
  assert.equal(voter.bodies.length, 1);
  assert.equal(voter.storage.length, 0);
});

test("the code is never kept, and after the receipt neither are the answers, the seed or the request", async () => {
  const voter = new Traveller();
  await voter.answers();
  const symbols = CODE.replaceAll("-", "");
  assert.ok(!voter.left.replaceAll("-", "").includes(symbols));
  await voter.flow.submit();
  await settle();
  for (const secret of ["chosen", "yes", "seed", "vote"]) {
    assert.ok(!JSON.stringify(voter.entries).includes(secret), secret);
  }
});

test("the history holds steps alone, until the receipt", async () => {
  const voter = new Traveller();
  await voter.answers();
  assert.deepEqual(
    voter.entries,
    [0, 1, 2, 3, 4].map((step) => ({ at: "step", step, changing: false })),
  );
});

test("a typed code: each slip is told, and nothing is asked", async () => {
  const voter = new Traveller();
  await voter.load();
  for (const [typed, slip, count] of [
    ["", "length", 0],
    ["0123-4567", "length", 8],
    [`${CODE}0`, "length", 21],
    ["0123-4567-89AB-CDEF-GHU4", "symbols", 20],
    ["0123-4567-89AB-CDEF-GHJ5", "check", 20],
  ] as const) {
    await voter.flow.start(typed);
    const { screen } = voter;
    assert.ok(screen.is === "start" && screen.slip !== null && !screen.held);
    assert.deepEqual([screen.slip.slip, screen.slip.count, screen.typed], [slip, count, typed]);
  }
  assert.deepEqual(voter.credentials, []);
  await voter.flow.start(" o123 4567 89ab cdef ghj4 ");
  assert.equal(voter.where, "question 0");
});

test("a link with a slip in its code asks for the code", async () => {
  const voter = new Traveller();
  await voter.load("0123-4567-89AB");
  assert.ok(voter.start().slip?.slip === "length" && !voter.start().held);
});

test("however often Continue is pressed, access is asked once", async () => {
  const voter = new Traveller();
  const answer = promised<{ is: "ready" }>();
  voter.access = () => answer.promise;
  await voter.load(CODE);
  const presses = [voter.flow.start(null), voter.flow.start(null)];
  await settle();
  assert.ok(voter.start().access === "asking");
  presses.push(voter.flow.start(null));
  answer.give({ is: "ready" });
  await Promise.all(presses);
  assert.equal(voter.where, "question 0");
  assert.equal(voter.credentials.length, 1);
});

test("a code that is refused ends there, and another may be used", async () => {
  const voter = new Traveller();
  voter.access = () => refused("not_accepted");
  await voter.load(CODE);
  await voter.flow.start(null);
  assert.deepEqual(voter.screen, { is: "refused", refusal: { name: "not_accepted" }, sent: false });
  assert.equal(voter.storage.length, 0);
  voter.flow.useAnotherCode();
  assert.ok(!voter.start().held);
  voter.access = () => ({ is: "ready" });
  await voter.flow.start(OTHER_CODE);
  assert.equal(voter.where, "question 0");
  assert.equal(new Set(voter.credentials).size, 2);
});

test("too early: the code is kept for when the ballot opens", async () => {
  const voter = new Traveller();
  const opens = "2026-03-01T13:00:00Z";
  voter.access = () => ({ is: "refused", refusal: { name: "not_open", opens, early: true } });
  await voter.load(CODE);
  await voter.flow.start(null);
  assert.deepEqual(voter.screen, { is: "start", held: true, slip: null, typed: "", access: "early", opens });
  await voter.load();
  assert.ok(voter.start().held);
  voter.access = () => ({ is: "ready" });
  await voter.flow.start(null);
  assert.equal(voter.where, "question 0");
});

test("no answer about the code: a few quiet tries, then the voter may go on", async () => {
  const voter = new Traveller();
  voter.access = () => lost;
  await voter.load(CODE);
  const pressed = voter.flow.start(null);
  await voter.clock.step(60_000);
  await pressed;
  assert.equal(voter.credentials.length, ACCESS_TRIES);
  assert.deepEqual(
    voter.shown.map((screen) => screen.is === "start" && screen.access),
    ["idle", "asking", "unsure"],
  );
  voter.flow.goOn();
  assert.equal(voter.where, "question 0");
});

test("a server that wants to be left alone for long is not waited for", async () => {
  const voter = new Traveller();
  voter.access = () => ({ ...lost, retryAfter: 60_000 });
  await voter.load(CODE);
  await voter.flow.start(null);
  assert.ok(voter.start().access === "unsure");
  assert.equal(voter.credentials.length, 1);
});

test("an answer about a code that was forgotten meanwhile changes nothing", async () => {
  const voter = new Traveller();
  const answer = promised<{ is: "ready" }>();
  voter.access = () => answer.promise;
  await voter.load(CODE);
  const pressed = voter.flow.start(null);
  await settle();
  voter.flow.useAnotherCode();
  answer.give({ is: "ready" });
  await pressed;
  assert.ok(!voter.start().held);
  assert.equal(voter.storage.length, 0);
});

test("nothing chosen is an answer; too many, places given twice and left out are not", async () => {
  const voter = new Traveller();
  await voter.load(CODE);
  await voter.flow.start(null);
  voter.flow.answer(0, {});
  assert.equal(voter.where, "question 1");
  voter.flow.answer(1, chosen("a", "b", "c"));
  assert.deepEqual(voter.screen.is === "question" && voter.screen.slips, [
    { is: "too many", option: "a", max: 2, chosen: 3 },
  ]);
  voter.flow.answer(1, {});
  for (const [places, slips] of [
    [{ x: "1", y: "1" }, [{ is: "same place", option: "y", place: 1 }]],
    [{ x: "2" }, [{ is: "gap", option: "x", place: 1 }]],
    [{ x: "1", constructor: "3" }, [{ is: "gap", option: "constructor", place: 2 }]],
  ] as const) {
    voter.flow.answer(2, places);
    assert.deepEqual(voter.screen.is === "question" && voter.screen.slips, slips);
  }
  voter.flow.answer(2, {});
  assert.equal(voter.where, "check");
  await voter.flow.submit();
  await settle();
  assert.deepEqual(voter.sealed, [{ strike: [], committee: [], order: [] }]);
});

test("Change leads to one question and back to the check", async () => {
  const voter = new Traveller();
  await voter.answers();
  voter.flow.change(0);
  assert.equal(voter.where, "question 0");
  await voter.load();
  assert.equal(voter.where, "question 0");
  voter.flow.answer(0, chosen("no"));
  assert.equal(voter.where, "check");
  await voter.flow.submit();
  await settle();
  assert.deepEqual(voter.sealed, [{ ...ALL, strike: ["no"] }]);
});

test("Back and Forward go through the questions, with what was filled in", async () => {
  const voter = new Traveller();
  await voter.answers();
  voter.go(-1);
  assert.equal(voter.where, "question 2");
  voter.go(-2);
  assert.deepEqual(voter.screen, { is: "question", index: 0, chosen: chosen("yes"), slips: [] });
  voter.flow.fill(0, chosen("no"));
  voter.go(2);
  assert.equal(voter.where, "question 2");
  voter.flow.back();
  assert.equal(voter.where, "question 1");
  voter.flow.back();
  voter.flow.back();
  assert.equal(voter.where, "start");
  await voter.flow.start(null);
  assert.equal(voter.where, "question 0");
  assert.equal(voter.credentials.length, 1);
});

test("Forward to the check with something to put right stops at that question", async () => {
  const voter = new Traveller();
  await voter.answers();
  voter.go(-2);
  voter.flow.fill(1, chosen("a", "b", "c"));
  voter.go(2);
  assert.ok(voter.screen.is === "question" && voter.screen.index === 1 && voter.screen.slips.length === 1);
});

test("a reload goes on where the voter was, with what was filled in before Continue", async () => {
  const voter = new Traveller();
  await voter.load(CODE);
  await voter.flow.start(null);
  voter.flow.answer(0, chosen("yes"));
  voter.flow.fill(1, chosen("b"));
  await voter.load();
  assert.deepEqual(voter.screen, { is: "question", index: 1, chosen: chosen("b"), slips: [] });
  await voter.follow();
  assert.equal(voter.where, "question 1");
});

test("a question that was not reached cannot be skipped", async () => {
  const voter = new Traveller();
  await voter.load(CODE);
  await voter.flow.start(null);
  voter.flow.travelled({ at: "step", step: 4, changing: false });
  assert.equal(voter.where, "question 0");
});

test("another code in a link begins anew; the same one goes on", async () => {
  const voter = new Traveller();
  await voter.answers();
  await voter.follow(CODE);
  assert.equal(voter.where, "check");
  await voter.flow.opened(OTHER_CODE);
  assert.ok(voter.start().held);
  assert.ok(!voter.storage.all.includes("chosen"));
});

test("however often Submit is pressed, one vote is sealed and sent", async () => {
  const voter = new Traveller();
  const sealing = promised<void>();
  voter.sealing = () => sealing.promise;
  await voter.answers();
  const presses = [voter.flow.submit(), voter.flow.submit()];
  assert.deepEqual(voter.screen, { is: "sending", progress: null, kept: true });
  voter.go(-1);
  await voter.flow.opened(OTHER_CODE);
  assert.equal(voter.where, "sending");
  sealing.give();
  await Promise.all([...presses, voter.flow.submit()]);
  await settle();
  assert.equal(voter.where, "done");
  assert.deepEqual([voter.sealed.length, voter.bodies.length], [1, 1]);
});

test("Submit puts the sealed request in the place of seed and answers before it is sent", async () => {
  const voter = new Traveller();
  voter.cast = () => {
    assert.deepEqual(JSON.parse(voter.storage.getItem("ballot/tube-2025") ?? ""), {
      is: "sealed",
      body: voter.bodies[0],
      sealedSha256: "ab",
    });
    return { is: "receipt", receipt: RECEIPT };
  };
  await voter.answers();
  await voter.flow.submit();
  await settle();
  assert.equal(voter.where, "done");
});

test("sending goes on through reloads, with the identical request", async () => {
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await voter.clock.step(10_000);
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  await voter.load(OTHER_CODE);
  assert.deepEqual(voter.screen, { is: "done", receipt: RECEIPT });
  assert.ok(voter.bodies.length > 3);
  assert.equal(new Set(voter.bodies).size, 1);
  assert.equal(voter.sealed.length, 1);
  assert.equal(voter.storage.length, 0);
});

test("Try now and a connection that is back are passed on", async () => {
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  voter.flow.hurry("tryNow");
  await settle();
  voter.flow.hurry("online");
  await settle();
  assert.equal(voter.bodies.length, 3);
});

test("nothing leads back into answers after Submit", async () => {
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  voter.go(-1);
  assert.equal(voter.where, "sending");
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  voter.flow.hurry("tryNow");
  await settle();
  for (let steps = 0; steps < 4; steps += 1) {
    voter.go(-1);
    assert.deepEqual(voter.screen, { is: "done", receipt: RECEIPT });
  }
  await voter.load();
  assert.deepEqual(voter.screen, { is: "done", receipt: RECEIPT });
});

test("a page that slept while another voted in its tab forgets its answers", async () => {
  const voter = new Traveller();
  await voter.answers();
  const slept = voter.flow;
  await voter.follow();
  await voter.flow.submit();
  await settle();
  assert.equal(voter.where, "done");
  voter.at -= 2;
  await slept.woken({ at: "step", step: 4, changing: false });
  await slept.submit();
  assert.deepEqual([voter.sealed.length, voter.bodies.length], [1, 1]);
});

test("the receipt is there after a reload and in the other language, and nothing stays stored", async () => {
  const voter = new Traveller();
  await voter.answers();
  await voter.flow.submit();
  await settle();
  await voter.load();
  assert.equal(voter.where, "done");
  voter.flow.translated();
  await voter.follow();
  assert.deepEqual(voter.screen, { is: "done", receipt: RECEIPT });
  assert.equal(voter.storage.length, 0);
  await voter.load();
  assert.equal(voter.where, "done");
  await voter.follow(OTHER_CODE);
  assert.ok(voter.start().held);
});

test("who votes next in the same tab is shown no receipt of another, and goes on with an own vote", async () => {
  const voter = new Traveller();
  await voter.answers();
  await voter.flow.submit();
  await settle();
  await voter.follow(OTHER_CODE);
  await voter.flow.start(null);
  assert.equal(voter.where, "question 0");
  voter.go(-2);
  assert.ok(voter.start().held);
  await voter.load();
  assert.ok(voter.start().held);
  voter.go(2);
  assert.equal(voter.where, "question 0");
});

test("a receipt that cannot be confirmed is no success: it is shown as that, and the vote is sent until one can", async () => {
  const voter = new Traveller();
  voter.trusted = false;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  assert.ok(voter.screen.is === "unconfirmed" && voter.screen.receipt.reference === RECEIPT.reference);
  assert.ok(voter.storage.all.includes("sealed"));
  await voter.clock.step(29_000);
  assert.equal(voter.bodies.length, 1);
  await voter.clock.step(91_000);
  assert.equal(voter.bodies.length, 3);
  voter.cast = () => lost;
  voter.flow.hurry("tryNow");
  await settle();
  assert.equal(voter.where, "unconfirmed", "the last reference stays");
  voter.cast = () => refused("not_accepted");
  voter.flow.hurry("tryNow");
  await settle();
  assert.ok(voter.screen.is === "unconfirmed" && voter.screen.progress.cause === "unclear");
  voter.go(-1);
  assert.equal(voter.where, "unconfirmed");
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  await voter.load();
  assert.equal(voter.where, "unconfirmed");
  voter.trusted = true;
  voter.flow.hurry("tryNow");
  await settle();
  assert.deepEqual(voter.screen, { is: "done", receipt: RECEIPT });
  assert.equal(voter.storage.length, 0);
  assert.equal(new Set(voter.bodies).size, 1);
});

test("a receipt for another vote is none: the vote is sent again", async () => {
  for (const wrong of [{ ballot: "other" }, { sealed_sha256: "cd" }, { ballot: undefined }]) {
    const voter = new Traveller();
    voter.cast = () => ({ is: "receipt", receipt: { ...RECEIPT, ...wrong } });
    await voter.answers();
    await voter.flow.submit();
    await settle();
    const { screen } = voter;
    assert.ok(screen.is === "sending" && screen.progress?.cause === "busy");
    voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
    await voter.clock.step(1_000);
    assert.equal(voter.where, "done");
  }
});

test("where a vote was submitted and nothing more is known, no page says that none was", async () => {
  // Another language while it is sent, the receipt there, and Back to the page before.
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  const before = voter.at;
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  await voter.follow();
  assert.equal(voter.where, "done");
  voter.at = before;
  for (let loads = 0; loads < 2; loads += 1) {
    await voter.load();
    assert.deepEqual(voter.screen, { is: "submitted" });
  }
  voter.flow.translated();
  await voter.follow();
  assert.deepEqual(voter.screen, { is: "submitted" });
  assert.equal(voter.storage.length, 0);
  voter.go(-1);
  assert.deepEqual(voter.screen, { is: "submitted" });
  voter.closed = "2026-03-01T12:00:00Z";
  await voter.load();
  assert.deepEqual(voter.screen, { is: "submitted" });

  // A browser that stores nothing, and an answer that is lost.
  const forgetful = new Traveller();
  forgetful.storageRefused = true;
  forgetful.cast = () => lost;
  await forgetful.answers();
  await forgetful.flow.submit();
  await settle();
  await forgetful.load();
  assert.deepEqual(forgetful.screen, { is: "submitted" });

  // A refusal after an answer that was lost.
  const late = new Traveller();
  late.cast = () => lost;
  await late.answers();
  await late.flow.submit();
  await settle();
  late.cast = () => refused("not_accepted");
  await late.clock.step(1_000);
  assert.equal(late.where, "refused");
  await late.load();
  assert.deepEqual(late.screen, { is: "submitted" });
});

test("from there one may vote again; the history keeps that a vote was submitted", async () => {
  const voter = new Traveller();
  voter.cast = () => refused("not_accepted");
  await voter.answers();
  await voter.flow.submit();
  await settle();
  await voter.load();
  const there = voter.at;
  voter.flow.useAnotherCode();
  assert.ok(!voter.start().held);
  voter.go(-1);
  assert.deepEqual(voter.screen, { is: "submitted" });
  voter.flow.useAnotherCode();
  await voter.flow.start(OTHER_CODE);
  assert.equal(voter.where, "question 0");
  voter.go(there - voter.at);
  assert.equal(voter.where, "start");
  await voter.load();
  assert.equal(voter.where, "start", "who has begun again goes on");
  assert.deepEqual(voter.entries[there], { at: "sent" });
});

test("a refusal of the form after an answer that was lost ends nothing", async () => {
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  voter.cast = () => refused("malformed");
  await voter.clock.step(1_000);
  assert.ok(voter.screen.is === "sending" && voter.screen.progress?.cause === "unclear");
  assert.ok(voter.storage.all.includes("sealed"));
  await voter.load();
  assert.ok(voter.screen.is === "sending" && voter.screen.progress?.cause === "unclear");
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  await voter.clock.step(60_000);
  assert.equal(voter.where, "done");
});

test("another code opened while a vote is on its way is kept on the page, and voted with after it", async () => {
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  await voter.flow.opened(CODE);
  assert.equal(voter.flow.other, false, "one's own link again is no other code");
  await voter.flow.opened(OTHER_CODE);
  assert.deepEqual([voter.where, voter.flow.other], ["sending", true]);
  assert.ok(!voter.left.includes("seed"));
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  voter.flow.hurry("tryNow");
  await settle();
  assert.deepEqual([voter.where, voter.flow.other], ["done", true]);
  voter.flow.useAnotherCode();
  assert.ok(voter.start().held && !voter.flow.other);
  await voter.flow.start(null);
  assert.equal(voter.where, "question 0");
  voter.flow.answer(0, chosen("no"));
  voter.flow.answer(1, {});
  voter.flow.answer(2, {});
  await voter.flow.submit();
  await settle();
  assert.deepEqual([voter.where, voter.sealed.length], ["done", 2]);
  assert.equal(new Set(voter.credentials).size, 2);
});

test("another link that loads the page anew does not lose its code either, nor does a slip in it", async () => {
  const voter = new Traveller();
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  await settle();
  await voter.follow(OTHER_CODE);
  assert.deepEqual([voter.where, voter.flow.other], ["sending", true]);
  await voter.follow("0123-4567");
  assert.deepEqual([voter.where, voter.flow.other], ["sending", true]);
  voter.cast = () => refused("not_accepted");
  voter.flow.hurry("tryNow");
  await settle();
  assert.deepEqual([voter.where, voter.flow.other], ["refused", true]);
  voter.flow.useAnotherCode();
  assert.ok(!voter.start().held);
});

test("a vote that is refused for good leaves nothing, and one may begin again", async () => {
  const voter = new Traveller();
  voter.cast = () => refused("malformed");
  await voter.answers();
  await voter.flow.submit();
  await settle();
  assert.deepEqual(voter.screen, { is: "refused", refusal: { name: "malformed" }, sent: true });
  assert.equal(voter.storage.length, 0);
  voter.go(-1);
  assert.equal(voter.where, "refused");
  voter.flow.translated();
  await voter.follow();
  assert.deepEqual(voter.screen, { is: "refused", refusal: { name: "malformed" }, sent: true });
  assert.equal(voter.storage.length, 0);
  voter.flow.useAnotherCode();
  assert.ok(!voter.start().held);
});

test("closed when it is opened: said at once, what was begun is forgotten, but a sealed vote is still sent", async () => {
  const voter = new Traveller();
  await voter.answers();
  voter.closed = "2026-03-01T12:00:00Z";
  await voter.load();
  assert.deepEqual(voter.screen, {
    is: "refused",
    refusal: { name: "not_open", closes: voter.closed, early: false },
    sent: false,
  });
  assert.equal(voter.storage.length, 0);
  voter.closed = null;
  voter.cast = () => lost;
  await voter.answers();
  await voter.flow.submit();
  voter.closed = "2026-03-01T12:00:00Z";
  voter.cast = () => ({ is: "receipt", receipt: RECEIPT });
  await voter.load();
  assert.equal(voter.where, "done");
});

test("a device that cannot seal says so; the answers are there for another try", async () => {
  const voter = new Traveller();
  voter.sealing = () => Promise.reject(new Error("no memory"));
  await voter.answers();
  await voter.flow.submit();
  assert.deepEqual(voter.screen, { is: "stopped", why: "device" });
  assert.equal(voter.bodies.length, 0);
  voter.sealing = () => Promise.resolve();
  await voter.load();
  assert.equal(voter.where, "check");
});

test("without storage a vote is made and sent all the same", async () => {
  const voter = new Traveller();
  voter.storageRefused = true;
  await voter.answers();
  voter.go(-1);
  voter.go(1);
  await voter.flow.submit();
  await settle();
  assert.equal(voter.where, "done");
  assert.deepEqual(voter.sealed, [ALL]);
});

test("what is not ours in the memory is forgotten", async () => {
  const voter = new Traveller();
  voter.storage.setItem("ballot/tube-2025", '{"is":"answering","seed":"!","fields":{},"step":3,"reached":4}');
  await voter.load();
  assert.ok(!voter.start().held);
  assert.equal(voter.storage.length, 0);
});
