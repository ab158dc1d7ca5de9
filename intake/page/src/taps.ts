// One tap presses one thing. The second tap of a double tap lands on the screen that the first has brought, where the
// button that sends the vote may stand in the place of the one that was meant. On the screen of the first tap it does
// what it always does: whoever clicks quickly there means it.

const TOGETHER_MILLISECONDS = 500;
const TOGETHER_PIXELS = 40;

/** When and where a finger or a mouse pressed. */
export interface Tap {
  at: number;
  x: number;
  y: number;
}

/** Whether `tap` is the second of a double tap that `before` began. */
export function isSecond(before: Tap | null, tap: Tap): boolean {
  if (before === null || tap.at - before.at > TOGETHER_MILLISECONDS) return false;
  return Math.hypot(tap.x - before.x, tap.y - before.y) <= TOGETHER_PIXELS;
}

/** Whether a click on a link leads this page elsewhere: others open a new tab or window, or save what is there. */
export function leadsAway(click: {
  button: number;
  ctrlKey: boolean;
  metaKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
}): boolean {
  return click.button === 0 && !click.ctrlKey && !click.metaKey && !click.shiftKey && !click.altKey;
}

/** What was pressed before: when and where, what, and whether that was kept from its button. */
export interface Pressed {
  tap: Tap;
  target: { isConnected: boolean };
  kept: boolean;
}

/** Whether a press soon after `before` was meant for a screen that is gone. */
export function isMeantForAnother(before: Pressed): boolean {
  return before.kept || !before.target.isConnected;
}

/** Keeps the second tap of a double tap from every button. Keyboards and screen readers press without tapping. */
export function oneTapOnePress(): void {
  let before: Pressed | null = null;
  let byMouse = true;
  const pointed = ({ pointerType }: PointerEvent): void => {
    byMouse = pointerType === "mouse";
  };
  const clicked = (event: MouseEvent): void => {
    if (event.detail === 0 || !(event.target instanceof Element)) return;
    const tap: Tap = { at: event.timeStamp, x: event.clientX, y: event.clientY };
    // A mouse's clicks are counted by the browser, as its owner has set it; a finger's are not, on most phones.
    const second = event.detail > 1 || (!byMouse && isSecond(before?.tap ?? null, tap));
    const kept = second && before !== null && isMeantForAnother(before);
    before = { tap, target: event.target, kept };
    if (kept && event.target.closest("button") !== null) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  document.addEventListener("pointerdown", pointed, { capture: true });
  document.addEventListener("click", clicked, { capture: true });
}
