// One tap presses one thing. The second tap of a double tap lands on the screen that the first has brought, where the
// button that sends the vote may stand in the place of the one that was meant.

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

/** Keeps the second tap of a double tap from every button. Keyboards and screen readers press without tapping. */
export function oneTapOnePress(): void {
  let before: Tap | null = null;
  let byMouse = true;
  const pointed = ({ pointerType }: PointerEvent): void => {
    byMouse = pointerType === "mouse";
  };
  const clicked = (event: MouseEvent): void => {
    if (event.detail === 0) return;
    const tap: Tap = { at: event.timeStamp, x: event.clientX, y: event.clientY };
    // A mouse's clicks are counted by the browser, as its owner has set it; a finger's are not, on most phones.
    const second = event.detail > 1 || (!byMouse && isSecond(before, tap));
    before = tap;
    if (second && event.target instanceof Element && event.target.closest("button") !== null) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  document.addEventListener("pointerdown", pointed, { capture: true });
  document.addEventListener("click", clicked, { capture: true });
}
