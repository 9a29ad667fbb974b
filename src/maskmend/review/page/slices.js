// Planes of one case, as they come from the server: kept while there is room, asked for ahead, dropped when stale.

import { caseAt, getBytes } from "./net.js";

const ROOM = 256 * 2 ** 20; // bytes

export class Slices {
  #kept = new Map(); // path -> {promise, size}; the oldest first
  #flying = new Map(); // path -> AbortController
  #bytes = 0;
  version = 0; // of the labels: they change with what is drawn

  constructor(name) {
    this.base = caseAt(name);
  }

  path(what, query) {
    return `${this.base}/${what}?${new URLSearchParams(query)}`;
  }

  /** {bytes, bands}; null where the server has none. */
  get(path, version = 0) {
    const key = `${version} ${path}`;
    const kept = this.#kept.get(key);
    if (kept) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept.promise;
    }
    const stop = new AbortController();
    const entry = { size: 0, promise: null };
    entry.promise = getBytes(path, stop.signal)
      .then((found) => (this.#count(entry, found.bytes.byteLength), found))
      .catch((error) => {
        if (error.status === 404) return null;
        if (this.#kept.get(key) === entry) this.#kept.delete(key);
        throw error;
      })
      .finally(() => this.#flying.delete(key));
    this.#kept.set(key, entry);
    this.#flying.set(key, stop);
    return entry.promise;
  }

  labels(axis, index) {
    return this.get(this.path("labels", { axis, index }), this.version);
  }

  /** Ends the requests on their way, but those that `wanted` (path -> boolean) still is for. */
  drop(wanted = () => false) {
    for (const [key, stop] of this.#flying) {
      if (wanted(key.slice(key.indexOf(" ") + 1))) continue;
      this.#kept.delete(key);
      stop.abort();
    }
  }

  #count(entry, size) {
    this.#bytes += entry.size = size;
    for (const [key, old] of this.#kept) {
      if (this.#bytes <= ROOM) break;
      if (old === entry) continue;
      this.#bytes -= old.size;
      this.#kept.delete(key);
    }
  }
}
