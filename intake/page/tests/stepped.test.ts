import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTS_MAX, SteppedClock } from "./stepped.ts";

test("what does itself again without waiting fails its test instead of running for ever", async () => {
  const clock = new SteppedClock();
  let acts = 0;
  const again = (): void => {
    acts += 1;
    clock.after(0, again);
  };
  again();
  await assert.rejects(clock.step(1_000), /nothing waits/);
  assert.equal(acts, ACTS_MAX + 1);
});

test("what is due is done in order, and nothing that is not due yet", async () => {
  const clock = new SteppedClock();
  const done: string[] = [];
  clock.after(20, () => done.push("second"));
  clock.after(10, () => done.push("first"));
  clock.after(31, () => done.push("third"));
  await clock.step(30);
  assert.deepEqual(done, ["first", "second"]);
  assert.equal(clock.pending, 1);
});
