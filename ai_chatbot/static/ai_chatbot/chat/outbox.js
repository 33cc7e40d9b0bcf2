/* Messages on their way to the server: one at a time, in the order they were written, and with
   the same client_id at every attempt, so that the server stores each once. */

// Between attempts, growing; what the server asks for may be longer.
const PAUSE_MS = [1_000, 10_000];
const LONGEST_ASKED_MS = 60_000;

export class Outbox {
  /** post(item) resolves to the stored message. `dispatch` gets queued, delayed, sent, unsent. */
  constructor({ post, dispatch }) {
    this.post = post;
    this.dispatch = dispatch;
    this.waiting = [];
    this.failed = [];
    this.running = false;
    // Why the first one waits, as a code, while it does; and its attempts in vain.
    this.problem = null;
    this.attempts = 0;
    // Of the pause that is being made: whether the server asked for it, and what ends it.
    this.asked = false;
    this.endPause = () => {};
    addEventListener("online", () => this.wake());
  }

  add(content) {
    this.#queue({ client_id: newId(), content });
  }

  /**
   * Take over what an earlier page has left. `current`: it belongs to this conversation, and what
   * was waiting goes on by itself; otherwise the person decides.
   */
  restore(items, { current }) {
    for (const item of items) {
      if (current && !item.problem) this.#queue(item);
      else {
        this.dispatch({ type: "queued", item });
        this.#fail(item, item.problem ?? "interrupted");
      }
    }
  }

  /** Send everything again that was refused, in its order. */
  retry() {
    const again = this.failed;
    this.failed = [];
    for (const { client_id, content } of again) this.#queue({ client_id, content });
  }

  discard(clientId) {
    const others = (item) => item.client_id !== clientId;
    this.failed = this.failed.filter(others);
    this.waiting = this.waiting.filter(others);
    this.dispatch({ type: "discarded", client_id: clientId });
  }

  /** The server can be reached again: there is nothing to wait for. */
  wake() {
    this.attempts = 0;
    // A server that has named a time was reached already.
    if (!this.asked) this.endPause();
  }

  /** What has not arrived, for a page that is going away. */
  get unsent() {
    return [...this.failed, ...this.waiting];
  }

  /** Forget everything; answers still under way count no more. */
  clear() {
    this.waiting = [];
    this.failed = [];
    this.problem = null;
    this.attempts = 0;
    this.endPause();
  }

  #queue(item) {
    this.waiting.push(item);
    this.dispatch({ type: "queued", item });
    if (this.problem) this.#delay(item);
    this.#run();
  }

  async #run() {
    if (this.running) return;
    this.running = true;
    while (this.waiting.length) {
      const item = this.waiting[0];
      const [message, error] = await this.#attempt(item);
      if (this.waiting[0] !== item) continue; // cleared or discarded meanwhile
      if (error?.passing) {
        // Those behind it must not overtake it.
        this.problem = error.code ?? "unreachable";
        this.waiting.forEach((each) => this.#delay(each));
        await this.#pause(error.retryAfter * 1000);
        continue;
      }
      this.waiting.shift();
      this.#goOn();
      if (message) this.dispatch({ type: "sent", message });
      // A refusal is of this one: those behind it need not wait until the person has decided.
      else this.#fail(item, error.code ?? "unreachable");
    }
    this.#goOn();
    this.running = false;
  }

  async #attempt(item) {
    try {
      return [await this.post(item), null];
    } catch (error) {
      if (error.passing === undefined) console.error(error);
      return [null, error];
    }
  }

  async #pause(asked) {
    const [least, most] = PAUSE_MS;
    const grown = Math.min(most, least * 2 ** this.attempts) * (0.75 + Math.random() / 2);
    this.attempts += 1;
    this.asked = asked > 0;
    await new Promise((resolve) => {
      this.endPause = resolve;
      setTimeout(resolve, Math.max(grown, Math.min(LONGEST_ASKED_MS, asked)));
    });
  }

  #goOn() {
    this.attempts = 0;
    if (this.problem === null) return;
    this.problem = null;
    this.waiting.forEach((each) => this.#delay(each));
  }

  /** Show whether the item waits, and for what. */
  #delay({ client_id }) {
    this.dispatch({ type: "delayed", client_id, problem: this.problem });
  }

  #fail(item, problem) {
    this.failed.push({ ...item, problem });
    this.dispatch({ type: "unsent", client_id: item.client_id, problem });
  }
}

/** As good as crypto.randomUUID, which browsers keep from pages served over plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
