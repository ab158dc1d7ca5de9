import assert from "node:assert/strict";
import { test } from "node:test";
import {
  DELAY_MILLISECONDS_MAX,
  type End,
  type Progress,
  Sending,
  SLOW_MILLISECONDS,
} from "../src/sending.ts";
import type { Again, CastOutcome, Cause, Received } from "../src/server.ts";
import { promised, settle, SteppedClock } from "./stepped.ts";

const BODY = '{"sealed":"…"}';
const receipt = { reference: "0000-1111-2222-3333", accepted_at: "2026-03-01T12:00:00Z" } as Received;

const again = (cause: Cause, retryAfter = 0): Again => ({ is: "again", cause, retryAfter });

/** A sending whose tries are answered by `answers` in order, the last of them for ever. */
function sending(
  answers: (CastOutcome | Promise<CastOutcome>)[],
  random: () => number = () => 1,
): {
  clock: SteppedClock;
  bodies: string[];
  times: number[];
  told: Progress[];
  ends: End[];
  sending: Sending;
} {
  const clock = new SteppedClock();
  const bodies: string[] = [];
  const times: number[] = [];
  const told: Progress[] = [];
  const ends: End[] = [];
  const start = clock.now();
  let under = 0;
  const cast = async (body: string): Promise<CastOutcome> => {
    assert.equal((under += 1), 1, "one request at a time");
    bodies.push(body);
    times.push(clock.now() - start);
    const answer = await (answers[bodies.length - 1] ?? answers[answers.length - 1] ?? assert.fail());
    under -= 1;
    return answer;
  };
  const one = new Sending(
    BODY,
    { cast, clock, random },
    { told: (progress) => told.push(progress), ended: (end) => ends.push(end) },
  );
  return { clock, bodies, times, told, ends, sending: one };
}

const gaps = (times: number[]): number[] => times.slice(1).map((time, at) => time - (times[at] ?? 0));

test("a receipt ends it after one try", async () => {
  const { clock, bodies, told, ends, sending: one } = sending([{ is: "receipt", receipt }]);
  one.start();
  one.start();
  await settle();
  assert.deepEqual(ends, [{ is: "received", receipt }]);
  assert.deepEqual(told, [{ is: "trying", tries: 1, cause: null }]);
  one.tryNow();
  one.online();
  await clock.step(1e6);
  assert.deepEqual([bodies.length, clock.pending, ends.length], [1, 0, 1]);
});

test("the delays double from a second to half a minute, and never end", async () => {
  const { clock, times, bodies, ends, sending: one } = sending([again("lost")]);
  one.start();
  await clock.step(3_600_000);
  const seconds = gaps(times).map((gap) => gap / 1000);
  assert.deepEqual(seconds.slice(0, 8), [1, 2, 4, 8, 16, 30, 30, 30]);
  assert.ok(seconds.slice(5).every((gap) => gap === 30) && seconds.length > 100);
  assert.deepEqual(new Set(bodies), new Set([BODY]));
  assert.deepEqual(ends, []);
});

test("each delay may be anything below its bound", async () => {
  const draws = [0, 0.5, 0.25, 0.999, 0.125, 0.5];
  let at = 0;
  const { clock, times, sending: one } = sending([again("slow")], () => draws[at++ % draws.length] ?? 0);
  one.start();
  await clock.step(60_000);
  assert.deepEqual(gaps(times).slice(0, 6), [0, 1_000, 1_000, 7_992, 2_000, 15_000]);
});

test("never sooner than the server has asked for", async () => {
  const { clock, times, sending: one } = sending([again("busy", 5_000)], () => 0);
  one.start();
  await clock.step(20_000);
  assert.deepEqual(times, [0, 5_000, 10_000, 15_000, 20_000]);
  one.online();
  assert.equal(clock.next, 5_000);
  await clock.step(4_999);
  one.online();
  await settle();
  assert.equal(times.length, 5);
  await clock.step(1);
  assert.deepEqual(times.slice(5), [25_000]);
});

test("connected again: tried at once, and once", async () => {
  const slow = promised<CastOutcome>();
  const { clock, times, ends, sending: one } = sending([again("lost"), slow.promise]);
  one.start();
  await clock.step(400);
  one.online();
  one.online();
  await settle();
  assert.deepEqual(times, [0, 400]);
  slow.give({ is: "receipt", receipt });
  await settle();
  assert.equal(ends.length, 1);
  assert.equal(clock.pending, 0);
});

test("a device's clock that is set back or forth changes no wait", async () => {
  const day = 86_400_000;
  for (const shift of [-day, day]) {
    const asked = sending([again("busy", 5_000)], () => 0);
    asked.sending.start();
    await asked.clock.step(2_000);
    asked.clock.set(shift);
    asked.sending.online();
    assert.equal(asked.clock.next, 3_000);
    await asked.clock.step(3_000);
    assert.equal(asked.bodies.length, 2);
    asked.clock.set(-shift);
    asked.sending.online();
    assert.equal(asked.clock.next, 5_000);
    const lost = sending([again("lost")]);
    lost.sending.start();
    await settle();
    lost.clock.set(shift);
    lost.sending.online();
    await settle();
    assert.deepEqual([lost.bodies.length, lost.clock.next], [2, 2_000]);
  }
});

test("a refusal of the form after a try that may have been received is not the end; it is not hurried", async () => {
  const refused: CastOutcome = { is: "refused", refusal: { name: "malformed" } };
  for (const first of ["slow", "lost", "busy"] as const) {
    const { clock, times, told, ends, sending: one } = sending([again(first), refused, refused]);
    one.start();
    await clock.step(1_000 + 2 * SLOW_MILLISECONDS);
    assert.deepEqual(gaps(times), [1_000, SLOW_MILLISECONDS, SLOW_MILLISECONDS]);
    assert.deepEqual([told[told.length - 1]?.cause, ends], ["unclear", []]);
    one.tryNow();
    await settle();
    assert.equal(times.length, 5);
  }
});

test("what was sent by a page before counts as a try that may have been received", async () => {
  for (const name of ["not_found", "not_accepted", "not_open"] as const) {
    const clock = new SteppedClock();
    const ends: End[] = [];
    const refused: CastOutcome = { is: "refused", refusal: { name } };
    const means = { cast: async () => refused, clock, random: () => 0 };
    new Sending(BODY, means, { told: () => undefined, ended: (end) => ends.push(end) }, true).start();
    await settle();
    assert.equal(ends.length, name === "not_found" ? 0 : 1, name);
    assert.equal(clock.pending, name === "not_found" ? 1 : 0);
  }
});

test("the voter's own try is made at once, but never beside another", async () => {
  const slow = promised<CastOutcome>();
  const {
    clock,
    times,
    bodies,
    sending: one,
  } = sending([again("busy", 60_000), slow.promise, again("lost")]);
  one.start();
  one.tryNow();
  await clock.step(100);
  assert.deepEqual(times, [0]);
  one.tryNow();
  one.tryNow();
  await clock.step(15_000);
  assert.deepEqual(times, [0, 100]);
  slow.give(again("lost"));
  await settle();
  assert.equal(clock.pending, 1);
  await clock.step(2_000);
  assert.deepEqual(times, [0, 100, 17_100]);
  assert.deepEqual(new Set(bodies), new Set([BODY]));
});

test("a final refusal ends it, also after many tries", async () => {
  const refused: CastOutcome = { is: "refused", refusal: { name: "not_open", early: false } };
  const {
    clock,
    bodies,
    ends,
    sending: one,
  } = sending([again("busy"), again("slow"), again("lost"), refused]);
  one.start();
  await clock.step(4 * DELAY_MILLISECONDS_MAX);
  assert.deepEqual(ends, [{ is: "refused", refusal: { name: "not_open", early: false } }]);
  assert.equal(bodies.length, 4);
  assert.equal(clock.pending, 0);
});

test("what is told: each try, and what became of the last", async () => {
  const { clock, told, sending: one } = sending([again("lost"), again("busy"), { is: "receipt", receipt }]);
  one.start();
  await clock.step(10_000);
  assert.deepEqual(told, [
    { is: "trying", tries: 1, cause: null },
    { is: "waiting", tries: 1, cause: "lost" },
    { is: "trying", tries: 2, cause: "lost" },
    { is: "waiting", tries: 2, cause: "busy" },
    { is: "trying", tries: 3, cause: "busy" },
  ]);
});
