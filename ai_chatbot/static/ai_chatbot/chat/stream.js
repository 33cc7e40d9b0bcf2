/* A conversation's stream: what is read before it is opened, what a page is told while it is
   away, and when a hidden page does without it. The rest is sse.js's. */

import { listen } from "../../sse/sse.js";

const BACKOFF_MS = [1_000, 30_000];
// Shorter losses of connection are not worth a customer's attention.
const HINT_MS = 3_000;
// A stream that held for so long was a good one: the next failure begins a new backoff.
const SETTLED_MS = 10_000;
// A browser has six connections to a server for all its tabs together (HTTP/1.1). A tab that
// nobody looks at gives its one back after this time, if nothing is expected to come.
const REST_MS = 30_000;

export class Stream {
  /**
   * address(cursor): the URL to open.
   * options: of `listen`: token, share.
   * prepare(): called before every opening but one with a given cursor; re-reads what must be
   *   re-read and resolves to the cursor to open with, "" for none, or null to stay closed.
   *   What it throws is tried again later.
   * onConnected(payload, frame): the first frame of every connection, resumed ones too.
   * onEvent(event): everything else that is about the conversation.
   * onLink(up): false when there has been no connection for some seconds, then true again.
   * onDrop(): there is no connection just now; another try will be made.
   * mayRest(): may a hidden page do without the stream? It begins again when it is looked at.
   */
  constructor({ address, options, prepare, onConnected, onEvent, onLink, onDrop, mayRest }) {
    this.address = address;
    this.options = options;
    this.prepare = prepare;
    this.onConnected = onConnected ?? (() => {});
    this.onEvent = onEvent;
    this.onLink = onLink ?? (() => {});
    this.onDrop = onDrop ?? (() => {});
    this.mayRest = mayRest ?? (() => false);
    this.listening = null;
    this.attempts = 0;
    this.closed = false;
    this.openedAt = 0;
    this.linkUp = true;
    this.hint = null;
    this.again = null;
    this.opening = 0;
    this.resting = null;
    this.wake = () => this.#wake();
    addEventListener("online", this.wake);
    document.addEventListener("visibilitychange", this.wake);
  }

  /** Open after `prepare`. */
  async begin() {
    if (this.closed) return;
    clearTimeout(this.again);
    this.again = null;
    this.#drop();
    this.#expectLink();
    const mine = ++this.opening;
    let cursor;
    try {
      cursor = await this.prepare();
    } catch (error) {
      if (error.passing === undefined) console.error(error);
      if (mine === this.opening) this.#beginLater();
      return;
    }
    if (this.closed || mine !== this.opening) return;
    if (cursor === null) {
      this.#link(true);
      return;
    }
    this.open(cursor);
  }

  /** Open now, right after `cursor`. */
  open(cursor) {
    if (this.closed) return;
    this.#drop();
    this.#expectLink();
    this.openedAt = Date.now();
    const mine = (callback) => (...given) => listening === this.listening && callback(...given);
    const listening = (this.listening = listen(
      this.address(cursor),
      { "*": mine((_payload, event) => this.onEvent(event)) },
      {
        ...this.options,
        named: false,
        onstate: mine((state) => this.#state(state)),
        onreset: mine(() => this.#beginLater()),
      },
    ));
  }

  close() {
    this.closed = true;
    this.opening += 1;
    clearTimeout(this.again);
    clearTimeout(this.hint);
    clearTimeout(this.resting);
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.wake);
    this.#drop();
  }

  #state({ state, connected, event }) {
    switch (state) {
      case "open":
        this.#link(true);
        this.onConnected(connected, event);
        return;
      case "waiting":
        this.#expectLink();
        this.onDrop();
        return;
      case "refused":
        this.#expectLink();
        this.#beginLater();
    }
  }

  #drop() {
    const { listening } = this;
    this.listening = null;
    listening?.close();
  }

  #beginLater() {
    this.#drop();
    if (this.closed || this.again) return;
    if (Date.now() - this.openedAt > SETTLED_MS) this.attempts = 0;
    const [least, most] = BACKOFF_MS;
    // The first time at once: most often it is a reset, or a right that has just changed.
    const wait = this.attempts ? Math.min(most, least * 2 ** (this.attempts - 1)) : 0;
    this.attempts += 1;
    this.again = setTimeout(() => this.begin(), wait * (0.75 + Math.random() / 2));
  }

  #wake() {
    clearTimeout(this.resting);
    if (document.visibilityState === "hidden") {
      this.resting = setTimeout(() => this.#rest(), REST_MS);
    } else if (this.again || !this.listening) this.begin();
  }

  #rest() {
    if (this.listening && this.mayRest()) this.#drop();
    else this.resting = setTimeout(() => this.#rest(), REST_MS);
  }

  #expectLink() {
    this.hint ??= setTimeout(() => this.#link(false), HINT_MS);
  }

  #link(up) {
    clearTimeout(this.hint);
    this.hint = null;
    if (up === this.linkUp) return;
    this.linkUp = up;
    this.onLink(up);
  }
}
