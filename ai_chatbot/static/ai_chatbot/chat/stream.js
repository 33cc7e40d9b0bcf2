/* An event stream that does not give up.

   EventSource reconnects by itself, with Last-Event-ID, for as long as it gets no answer or
   loses one. It stops for good at an HTTP error, and never notices a connection that died
   without a word (a laptop that slept, a cable pulled). Those two, and `reset`, are seen to here.
*/

// The server writes at least every 15 s (SSE_HEARTBEAT_SECONDS), so this is three silences.
const SILENCE_MS = 45_000;
const LOOK_MS = 5_000;
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
   * prepare(): called before every opening but one with a given cursor; re-reads what must be
   *   re-read and resolves to the cursor to open with, "" for none, or null to stay closed.
   *   What it throws is tried again later.
   * onConnected(payload, frame): the first frame of every connection, resumed ones too.
   * onEvent(event, resumed): everything else that is about the conversation.
   * onLink(up): false when there has been no connection for some seconds, then true again.
   * onDrop(): the connection was lost just now; EventSource tries again by itself.
   * mayRest(): may a hidden page do without the stream? It begins again when it is looked at.
   */
  constructor({ address, prepare, onConnected, onEvent, onLink, onDrop, mayRest }) {
    this.address = address;
    this.prepare = prepare;
    this.onConnected = onConnected ?? (() => {});
    this.onEvent = onEvent;
    this.onLink = onLink ?? (() => {});
    this.onDrop = onDrop ?? (() => {});
    this.mayRest = mayRest ?? (() => false);
    this.source = null;
    this.attempts = 0;
    this.closed = false;
    this.heardAt = 0;
    this.openedAt = 0;
    this.linkUp = true;
    this.hint = null;
    this.again = null;
    this.opening = 0;
    this.resting = null;
    this.looking = setInterval(() => this.#look(), LOOK_MS);
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
    this.heardAt = this.openedAt = Date.now();
    const source = (this.source = new EventSource(this.address(cursor)));
    source.onmessage = (message) => {
      if (source === this.source) this.#heard(message);
    };
    source.onerror = () => {
      if (source !== this.source) return;
      this.#expectLink();
      if (source.readyState === EventSource.CLOSED) this.#beginLater();
      else this.onDrop();
    };
  }

  close() {
    this.closed = true;
    this.opening += 1;
    clearInterval(this.looking);
    clearTimeout(this.again);
    clearTimeout(this.hint);
    clearTimeout(this.resting);
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.wake);
    this.#drop();
  }

  #heard(message) {
    this.heardAt = Date.now();
    const event = JSON.parse(message.data);
    switch (event.type) {
      case "connected":
        this.#link(true);
        this.onConnected(event.payload, event);
        return;
      case "reset":
        this.#beginLater();
        return;
      case "heartbeat":
      case "goodbye":
        return;
      default:
        this.onEvent(event);
    }
  }

  #drop() {
    this.source?.close();
    this.source = null;
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

  #look() {
    if (this.source && Date.now() - this.heardAt > SILENCE_MS) this.begin();
  }

  #wake() {
    clearTimeout(this.resting);
    if (document.visibilityState === "hidden") {
      this.resting = setTimeout(() => this.#rest(), REST_MS);
    } else if (this.again || !this.source) this.begin();
    else this.#look();
  }

  #rest() {
    if (this.source && this.mayRest()) this.#drop();
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
