// Letters that hardly stand out from what is behind them, as the browser paints them: for forced colours.
() => {
  const parts = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].flatMap((one) => {
    const written = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "");
    if (!written || !one.checkVisibility() || one.closest("script, option")) return [];
    const two = [light(parts(getComputedStyle(one).color)), light(behind(one))];
    const contrast = (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
    return contrast < 4.5 ? [`letters hardly stand out, ${contrast.toFixed(1)} to 1: ${one.outerHTML.slice(0, 200)}`] : [];
  });
}
