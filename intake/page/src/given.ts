// What the server wrote into the page for its script: data, never code.

/** The members of the island; none where it is missing or damaged. */
export function given(): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(document.getElementById("island")?.textContent ?? "");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
