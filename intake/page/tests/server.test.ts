import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ACCESS_MILLISECONDS,
  ANSWER_BYTES_MAX,
  CAST_MILLISECONDS,
  FINAL,
  server,
  type Server,
} from "../src/server.ts";
import { settle, SteppedClock } from "./stepped.ts";

const RECEIPT = {
  ballot: "tube-2025",
  reference: "0000-1111-2222-3333",
  accepted_at: "2026-03-01T12:00:00.123456Z",
  sealed_sha256: "00".repeat(32),
};
const STATUS = {
  malformed: 400,
  not_accepted: 403,
  not_found: 404,
  method_not_allowed: 405,
  not_open: 409,
  too_large: 413,
  unsupported_type: 415,
};

interface Asked {
  url: string;
  request: RequestInit;
}

/** A server whose every answer is what `answer` gives or throws, and what it was asked. */
function answering(answer: () => Response | Promise<Response>): {
  asked: Asked[];
  clock: SteppedClock;
  server: Server;
} {
  const asked: Asked[] = [];
  const clock = new SteppedClock();
  const fetch = async (url: string, request: RequestInit): Promise<Response> => {
    asked.push({ url, request });
    return answer();
  };
  return { asked, clock, server: server("tube-2025", { fetch, clock }) };
}

function json(status: number, value: unknown, headers: Record<string, string> = {}): () => Response {
  return () => new Response(JSON.stringify(value), { status, headers });
}

test("a vote is posted as it is, without cookies, referrer or redirects", async () => {
  const { asked, server: one } = answering(json(201, RECEIPT));
  assert.deepEqual(await one.cast('{"a":1}'), { is: "receipt", receipt: RECEIPT });
  const [{ url, request } = assert.fail()] = asked;
  assert.equal(url, "/api/v1/ballots/tube-2025/votes");
  const { method, body, credentials, redirect, referrerPolicy, cache, mode } = request;
  assert.deepEqual(
    { method, body, credentials, redirect, referrerPolicy, cache, mode },
    {
      method: "POST",
      body: '{"a":1}',
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      cache: "no-store",
      mode: "same-origin",
    },
  );
});

test("the same receipt again is a receipt", async () => {
  assert.equal((await answering(json(200, RECEIPT)).server.cast("{}")).is, "receipt");
});

test("access is asked with the digest alone", async () => {
  const { asked, server: one } = answering(json(200, { state: "ready" }));
  assert.deepEqual(await one.access("ab"), { is: "ready" });
  assert.equal(asked[0]?.url, "/api/v1/ballots/tube-2025/access");
  assert.equal(asked[0]?.request.body, '{"credential_sha256":"ab"}');
});

test("every final refusal in the server's own words is final", async () => {
  for (const name of FINAL) {
    const refused = json(STATUS[name], { error: name, message: "No.", retry: false });
    for (const outcome of [
      await answering(refused).server.cast("{}"),
      await answering(refused).server.access("ab"),
    ]) {
      assert.equal(outcome.is === "refused" && outcome.refusal.name, name);
    }
  }
});

test("whatever the server says may be tried again, is", async () => {
  for (const [status, error] of [
    [400, "malformed"],
    [429, "slow_down"],
    [503, "not_confirmed"],
    [500, "not_accepted"],
  ] as const) {
    const { server: one } = answering(json(status, { error, message: "", retry: status !== 500 }));
    assert.deepEqual(await one.cast("{}"), { is: "again", cause: "busy", retryAfter: 0 });
  }
});

test("no page of a proxy or a hospital's Wi-Fi is a refusal or a receipt", async () => {
  const page = "<!doctype html><title>Sign in to the Wi-Fi</title>";
  for (const status of [200, 201, 400, 403, 404, 405, 409, 413, 415, 502, 504]) {
    for (const body of [page, "", "null", "[]", '{"error":"forbidden"}', '{"reference":"none"}']) {
      const { server: one } = answering(() => new Response(body, { status }));
      assert.equal((await one.cast("{}")).is, "again", `${status} ${body}`);
      assert.equal((await one.access("ab")).is, "again", `${status} ${body}`);
    }
  }
});

test("a lost connection is to be tried again, also in the middle of an answer", async () => {
  const gone = answering(() => Promise.reject(new TypeError("Failed to fetch")));
  assert.deepEqual(await gone.server.cast("{}"), { is: "again", cause: "lost", retryAfter: 0 });
  const broken = new ReadableStream({ start: (controller) => controller.error(new TypeError("lost")) });
  const half = answering(() => new Response(broken, { status: 201 }));
  assert.deepEqual(await half.server.cast("{}"), { is: "again", cause: "lost", retryAfter: 0 });
});

test("no answer within the time is to be tried again, and the request is given up", async () => {
  for (const [call, limit] of [
    [(one: Server) => one.cast("{}"), CAST_MILLISECONDS],
    [(one: Server) => one.access("ab"), ACCESS_MILLISECONDS],
  ] as const) {
    const { asked, clock, server: one } = answering(() => new Promise(() => undefined));
    let outcome: unknown = null;
    void call(one).then((value) => (outcome = value));
    await clock.step(limit - 1);
    assert.equal(outcome, null);
    await clock.step(1);
    assert.deepEqual(outcome, { is: "again", cause: "slow", retryAfter: 0 });
    assert.equal(asked[0]?.request.signal?.aborted, true);
  }
});

test("an answer that stops in its middle counts as none", async () => {
  const { clock, server: one } = answering(() => new Response(new ReadableStream(), { status: 201 }));
  let outcome: unknown = null;
  void one.cast("{}").then((value) => (outcome = value));
  await clock.step(CAST_MILLISECONDS);
  assert.deepEqual(outcome, { is: "again", cause: "slow", retryAfter: 0 });
});

test("of an answer without end no more is read than an answer of ours may have", async () => {
  for (const status of [201, 403, 503]) {
    let [pulls, cancelled] = [0, false];
    const endless = new ReadableStream({
      pull(controller) {
        pulls += 1;
        controller.enqueue(new Uint8Array(16_384).fill(0x20));
      },
      cancel() {
        cancelled = true;
      },
    });
    const { clock, server: one } = answering(() => new Response(endless, { status }));
    assert.deepEqual(await one.cast("{}"), { is: "again", cause: "busy", retryAfter: 0 });
    assert.ok(cancelled && pulls <= ANSWER_BYTES_MAX / 16_384 + 3, `${pulls}`);
    assert.equal(clock.pending, 0);
  }
});

test("an answer is read whatever its pieces, and as long as it may be", async () => {
  const value = { ...RECEIPT, more: "ŵ".repeat((ANSWER_BYTES_MAX - 1_024) / 2) };
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const stream = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += 999) controller.enqueue(bytes.slice(at, at + 999));
      controller.close();
    },
  });
  const { server: one } = answering(() => new Response(stream, { status: 201 }));
  assert.deepEqual(await one.cast("{}"), { is: "receipt", receipt: value });
});

test("an answer in time leaves nothing to be done", async () => {
  const { clock, server: one } = answering(json(201, RECEIPT));
  await one.cast("{}");
  await settle();
  assert.equal(clock.pending, 0);
});

test("Retry-After is read in seconds and as a date, and bounded", async () => {
  for (const [header, wait] of [
    ["3", 3_000],
    ["0", 0],
    ["Sun, 01 Mar 2026 12:00:30 GMT", 30_000],
    ["Sun, 01 Mar 2026 11:00:00 GMT", 0],
    ["86400", 300_000],
    ["soon", 0],
    ["-5", 0],
  ] as const) {
    const busy = json(503, { error: "not_confirmed", message: "", retry: true }, { "Retry-After": header });
    assert.deepEqual(await answering(busy).server.cast("{}"), {
      is: "again",
      cause: "busy",
      retryAfter: wait,
    });
  }
});

test("a ballot that is not open says whether it will be; without a word the clock decides", async () => {
  const times = { opens: "2026-03-01T13:00:00Z", closes: "2026-03-02T13:00:00Z" };
  for (const [more, early] of [
    [{ state: "scheduled" }, true],
    [{ state: "closed" }, false],
    [{}, true],
    [{ opens: "2026-03-01T11:00:00Z" }, false],
  ] as const) {
    const value = { error: "not_open", message: "", retry: false, ...times, ...more };
    const outcome = await answering(json(409, value)).server.access("ab");
    assert.deepEqual(outcome, {
      is: "refused",
      refusal: { name: "not_open", ...times, ...("opens" in more ? { opens: more.opens } : {}), early },
    });
  }
});
