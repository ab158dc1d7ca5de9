// A browser's storage, in a map; it may be full.

/** As sessionStorage. */
export class MapStorage implements Storage {
  readonly #items = new Map<string, string>();
  full = false;

  get length(): number {
    return this.#items.size;
  }

  get keys(): string[] {
    return [...this.#items.keys()];
  }

  /** Everything that is stored, for tests that look for what must not be. */
  get all(): string {
    return [...this.#items.entries()].join("\n");
  }

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    if (this.full) throw new DOMException("full", "QuotaExceededError");
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }

  clear(): void {
    this.#items.clear();
  }

  key(index: number): string | null {
    return this.keys[index] ?? null;
  }
}
