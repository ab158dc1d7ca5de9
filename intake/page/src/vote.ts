// The voter's page begins here: takes the code out of the address before anything else, opens the signed ballot, and
// ties the voter's way (flow.ts) to the document and the browser's history.

import { openDocument } from "./ballot.ts";
import { deviceClock } from "./clock.ts";
import { keyId, seedOf, signer } from "./credential.ts";
import { show } from "./dom.ts";
import { Flow } from "./flow.ts";
import { type Island, islandIn } from "./island.ts";
import { memory } from "./memory.ts";
import { type Place, placeIn } from "./places.ts";
import { verifyReceipt } from "./receipt.ts";
import type { Screen, Stopped, World } from "./screen.ts";
import { checkScreen } from "./screens/check.ts";
import { doneScreen } from "./screens/done.ts";
import { questionScreen } from "./screens/question.ts";
import { refusedScreen } from "./screens/refused.ts";
import { sendingScreen, unconfirmedScreen } from "./screens/sending.ts";
import { startScreen } from "./screens/start.ts";
import { stoppedScreen } from "./screens/stopped.ts";
import { submittedScreen } from "./screens/submitted.ts";
import { type Shown, type View } from "./screens/view.ts";
import { Untrue } from "./encoding.ts";
import { seal } from "./sealing.ts";
import { server } from "./server.ts";
import { leadsAway, oneTapOnePress } from "./taps.ts";

/** What stands behind the # of the address, which is taken away at once; null if that is a place on this page. */
function takenFromAddress(): string | null {
  const fragment = window.location.hash.slice(1);
  if (fragment === "" || document.getElementById(fragment) !== null) return null;
  const { pathname, search } = window.location;
  window.history.replaceState(window.history.state, "", pathname + search);
  try {
    return decodeURIComponent(fragment);
  } catch {
    return fragment;
  }
}

async function begin(link: string | null): Promise<void> {
  const main = document.getElementById("main");
  if (main === null) return;
  const stop = (why: Stopped["why"]): void => show(main, stoppedScreen({ is: "stopped", why }, submitted()));
  if (globalThis.crypto?.subtle === undefined) return stop("device");
  let island: Island;
  try {
    island = islandIn(document.getElementById("island")?.textContent ?? "");
  } catch {
    return stop("page");
  }
  try {
    const ballot = await openDocument(island.document, island.documentSignature, island.deskKey);
    if (ballot.id !== island.ballot) return stop("ballot");
    const fingerprint = await keyId(island.deskKey);
    const flow = new Flow(world(island, ballot, (screen) => draw(screen)));
    const { window: open, pageVersion } = island;
    const view: View = { ballot, flow, window: open, fingerprint, pageVersion };
    const draw = drawing(main, view, stop);
    listen(flow);
    await flow.begin(link, placeIn(window.history.state));
  } catch (error) {
    stop(error instanceof Untrue ? "ballot" : "device");
  }
}

/** Whether a vote was submitted here, or this tab still has one to send: the ballot's id is in the address. */
function submitted(): boolean {
  const place = placeIn(window.history.state);
  if (place !== null && place.at !== "step") return true;
  const ballot = window.location.pathname.split("/")[2] ?? "";
  return memory(ballot, () => window.sessionStorage).read()?.is === "sealed";
}

function world(island: Island, ballot: World["ballot"], draw: World["show"]): World {
  const { receiptsKey, window: open } = island;
  return {
    ballot,
    closed: open.state === "closed" ? open.closes : null,
    crypto: {
      seedOf,
      signer,
      seal,
      verifyReceipt: (receipt, sealedSha256) =>
        verifyReceipt(receipt, { ballot: ballot.id, sealedSha256, receiptsKey }),
    },
    memory: memory(ballot.id, () => window.sessionStorage),
    server: server(ballot.id, { fetch: (url, request) => window.fetch(url, request), clock: deviceClock }),
    places,
    clock: deviceClock,
    random: Math.random,
    show: draw,
  };
}

/** Shows each screen; one that can change in place does, so that neither focus nor reading is disturbed. */
function drawing(
  main: HTMLElement,
  view: View,
  stop: (why: Stopped["why"]) => void,
): (screen: Screen) => void {
  let before: Screen["is"] | null = null;
  let update: (next: Screen) => boolean = () => false;
  return (screen) => {
    if (screen.is === before && update(screen)) return;
    before = screen.is;
    update = () => false;
    if (screen.is === "stopped") return stop(screen.why);
    const shown = shownFor(screen, view);
    show(main, shown.page);
    update = (next) => next.is === screen.is && (shown.update?.(next as never) ?? false);
  };
}

function shownFor(screen: Exclude<Screen, Stopped>, view: View): Shown<never> {
  switch (screen.is) {
    case "start":
      return startScreen(screen, view);
    case "question":
      return questionScreen(screen, view);
    case "check":
      return checkScreen(screen, view);
    case "sending":
      return sendingScreen(screen, view);
    case "unconfirmed":
      return unconfirmedScreen(screen, view);
    case "submitted":
      return submittedScreen(view);
    case "done":
      return doneScreen(screen, view);
    case "refused":
      return refusedScreen(screen, view);
  }
}

/** The browser's history; one that takes no more entries (some limit them) is done without. */
const places = {
  now: null as Place | null,
  push(place: Place): void {
    places.now = place;
    try {
      window.history.pushState(place, "");
    } catch {
      // Back leads further than it should, and nothing else is wrong.
    }
  },
  replace(place: Place): void {
    places.now = place;
    try {
      window.history.replaceState(place, "");
    } catch {
      // As above.
    }
  },
};

function listen(flow: Flow): void {
  window.addEventListener("popstate", () => {
    const place = placeIn(window.history.state);
    if (place !== null) flow.travelled(place);
  });
  window.addEventListener("hashchange", () => {
    const link = takenFromAddress();
    if (link !== null) void flow.opened(link);
    else if (window.history.state === null && places.now !== null) places.replace(places.now); // a jump on the page
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) void flow.woken(placeIn(window.history.state));
  });
  window.addEventListener("online", () => flow.hurry("online"));
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") flow.hurry("online"); // timers of a hidden page are slow
  });
  document.addEventListener("click", (event) => {
    const { target } = event;
    if (!(target instanceof Element) || !leadsAway(event)) return;
    if (target.closest("a[hreflang]") !== null) flow.translated();
  });
}

void begin(takenFromAddress());
oneTapOnePress();
