// What is wrong with the layout of the page as it is now, in one line each: runs in the page, changes nothing that stays.
(smallest) => {
  const problems = [];
  const root = document.documentElement;
  const width = root.clientWidth;
  const CONTROLS = "a[href], button, input, select, textarea, summary";
  const told = (element) => {
    const name = (element.innerText || element.getAttribute("aria-label") || element.id || element.name || "").trim();
    return `<${element.localName}> “${name.slice(0, 50)}”`;
  };
  const shown = (element) => element.checkVisibility({ checkOpacity: false, checkVisibilityCSS: true });
  const forReadersOnly = (element) => {
    for (let at = element; at !== null && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      const box = at.getBoundingClientRect();
      const away = style.position === "absolute" || style.position === "fixed";
      if (away && (box.width <= 1 || box.height <= 1 || box.bottom + scrollY <= 0 || box.right <= 0)) return true;
    }
    return false;
  };

  const widest = Math.max(root.scrollWidth, document.body.scrollWidth);
  if (widest > width) {
    const guilty = [...document.body.querySelectorAll("*")].filter(
      (one) => one.getBoundingClientRect().right > width + 1 && shown(one) && !forReadersOnly(one),
    );
    const last = guilty.filter((one) => !guilty.some((other) => other !== one && one.contains(other)));
    problems.push(`scrolls sideways: ${widest} px of content in ${width} px: ${last.slice(0, 3).map(told).join(", ")}`);
  }

  // Every piece of text, line by line, and every control: nothing may be cut off, nothing may lie on something else.
  const pieces = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const owner = node.parentElement;
    if (node.data.trim() === "" || !shown(owner) || forReadersOnly(owner) || owner.closest("option, script, style, noscript:empty")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const block = owner.closest("p, li, h1, h2, h3, dt, dd, td, th, label, legend, summary, button, a") ?? owner;
    for (const box of range.getClientRects()) {
      if (box.width < 1) continue;
      if (box.left < -1 || box.right > width + 1) problems.push(`cut at the edge: ${told(owner)}`);
      for (let at = owner; at !== null && at !== root; at = at.parentElement) {
        const { overflowX, overflowY } = getComputedStyle(at);
        const frame = at.getBoundingClientRect();
        const hiddenX = overflowX !== "visible" && (box.right > frame.right + 1 || box.left < frame.left - 1);
        const hiddenY = overflowY !== "visible" && (box.bottom > frame.bottom + 3 || box.top < frame.top - 3);
        if ((hiddenX || hiddenY) && at !== document.body) problems.push(`cut by <${at.localName}>: ${told(owner)}`);
      }
      // A line's box reaches into its neighbours' by the leading; the letters do not.
      const slack = box.height * 0.2;
      pieces.push({ owner, block, left: box.left, right: box.right, top: box.top + slack, bottom: box.bottom - slack });
    }
  }
  const controls = [...document.querySelectorAll(CONTROLS)].filter(
    (one) => shown(one) && !forReadersOnly(one) && one.type !== "hidden",
  );
  for (const control of controls) {
    if (control.localName === "a" || control.localName === "summary") continue;
    const { left, right, top, bottom } = control.getBoundingClientRect();
    if (left < -1 || right > width + 1) problems.push(`cut at the edge: ${told(control)}`);
    pieces.push({ owner: control, block: control, left, right, top, bottom });
  }
  const together = (one, other) =>
    one.block.contains(other.block) || other.block.contains(one.block) || one.owner.contains(other.owner) || other.owner.contains(one.owner);
  for (const [index, one] of pieces.entries()) {
    for (const other of pieces.slice(index + 1)) {
      if (together(one, other)) continue;
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 2 && down > 2) problems.push(`${told(one.owner)} lies on ${told(other.owner)}`);
    }
  }

  // Targets: all large enough for a finger, and nothing in front of them once they are scrolled to.
  const before = scrollY;
  for (const control of controls) {
    control.scrollIntoView({ block: "center", behavior: "instant" });
    const box = control.getBoundingClientRect();
    const labels = ["radio", "checkbox"].includes(control.type) ? [...control.labels] : [];
    const boxes = [box, ...labels.map((label) => label.getBoundingClientRect())];
    const wide = Math.max(...boxes.map((one) => one.right)) - Math.min(...boxes.map((one) => one.left));
    const high = Math.max(...boxes.map((one) => one.bottom)) - Math.min(...boxes.map((one) => one.top));
    if (control.localName !== "a" && (wide < smallest || high < smallest))
      problems.push(`small target, ${Math.round(wide)} by ${Math.round(high)} px: ${told(control)}`);
    const middles = [...control.getClientRects()].map((one) => [one.left + one.width / 2, one.top + one.height / 2]);
    const [across, down] = middles.find(([, down]) => down > 0 && down < innerHeight) ?? [-1, -1];
    const hit = document.elementFromPoint(across, down);
    const reached = hit !== null && (control.contains(hit) || hit.contains(control) || labels.some((label) => label.contains(hit)));
    if (!reached) problems.push(`cannot be reached: ${told(control)}, behind ${hit === null ? "nothing" : told(hit)}`);
  }
  scrollTo({ top: before, behavior: "instant" });
  return [...new Set(problems)];
}
