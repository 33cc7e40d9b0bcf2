/* Messages on their way to the server: one at a time, in the order they were written, and with
   the same client_id at every attempt, so that the server stores each once. */

import { pause } from "./http.js";

const WAITS_MS = [500, 1_500, 4_000];
const LONGEST_WAIT_MS = 10_000;

export class Outbox {
  /** post(item) resolves to the stored message. `dispatch` gets queued, sent and unsent. */
  constructor({ post, dispatch }) {
    this.post = post;
    this.dispatch = dispatch;
    this.waiting = [];
    this.failed = [];
    this.running = false;
  }

  add(content) {
    this.#queue({ client_id: newId(), content });
  }

  /** Show items of an earlier page as not sent; the person decides. */
  restore(items) {
    for (const item of items) {
      this.dispatch({ type: "queued", item });
      this.#fail(item, "interrupted");
    }
  }

  /** Send everything again that failed, in its order. */
  retry() {
    const again = this.failed;
    this.failed = [];
    for (const item of again) this.#queue(item);
  }

  discard(clientId) {
    this.failed = this.failed.filter((item) => item.client_id !== clientId);
    this.dispatch({ type: "discarded", client_id: clientId });
  }

  /** What has not arrived, for a page that is going away. */
  get unsent() {
    return [...this.failed, ...this.waiting];
  }

  /** Forget everything; answers still under way count no more. */
  clear() {
    this.waiting = [];
    this.failed = [];
  }

  #queue(item) {
    this.waiting.push(item);
    this.dispatch({ type: "queued", item });
    this.#run();
  }

  async #run() {
    if (this.running) return;
    this.running = true;
    while (this.waiting.length) {
      const item = this.waiting[0];
      const [message, error] = await this.#attempts(item);
      if (this.waiting[0] !== item) continue; // cleared meanwhile
      if (message) {
        this.waiting.shift();
        this.dispatch({ type: "sent", message });
        continue;
      }
      // Those behind it must not overtake it.
      const stuck = error.passing ? this.waiting.splice(0) : [this.waiting.shift()];
      for (const each of stuck) this.#fail(each, error.code ?? "unreachable");
    }
    this.running = false;
  }

  async #attempts(item) {
    for (const wait of [...WAITS_MS, null]) {
      try {
        return [await this.post(item), null];
      } catch (error) {
        if (error.passing === undefined) console.error(error);
        if (!error.passing || wait === null || this.waiting[0] !== item) return [null, error];
        await pause(Math.min(LONGEST_WAIT_MS, Math.max(wait, error.retryAfter * 1000)));
      }
    }
  }

  #fail(item, problem) {
    this.failed.push(item);
    this.dispatch({ type: "unsent", client_id: item.client_id, problem });
  }
}

/** As good as crypto.randomUUID, which browsers keep from pages served over plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
