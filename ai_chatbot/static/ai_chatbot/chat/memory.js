/* What outlives a page: the session's name and token (all tabs, localStorage) and messages that
   have not arrived (this tab, sessionStorage). A browser that keeps nothing still chats. */

const SESSION = "support-chat-session";
const UNSENT = "support-chat-unsent";
const SEEN = "support-chat-seen";
const OPEN = "support-chat-open";

export class Memory {
  /** `origin`: of the server, since a shop's page may meet more than one. */
  constructor(origin) {
    this.key = (name) => `${name}:${origin}`;
  }

  get session() {
    const stored = read(localOf, this.key(SESSION));
    return stored?.name && stored?.token ? stored : null;
  }

  set session(session) {
    write(localOf, this.key(SESSION), session);
  }

  /** {session, items}: the messages and the name of the session they were written in, or null. */
  get unsent() {
    const stored = read(tabOf, this.key(UNSENT));
    return { session: stored?.session ?? null, items: stored?.items ?? [] };
  }

  set unsent({ session, items }) {
    write(tabOf, this.key(UNSENT), items.length ? { session, items } : null);
  }

  /** The id of the last message the visitor has had before their eyes. */
  get seen() {
    return Number(read(localOf, this.key(SEEN))) || 0;
  }

  set seen(id) {
    write(localOf, this.key(SEEN), id);
  }

  /** Is the widget's panel open in this tab? */
  get open() {
    return read(tabOf, this.key(OPEN)) === true;
  }

  set open(open) {
    write(tabOf, this.key(OPEN), open || null);
  }

  /** `listener` is called when another tab begins or forgets a session. */
  onSessionElsewhere(listener) {
    addEventListener("storage", (event) => {
      if (event.key === this.key(SESSION)) listener(this.session);
    });
  }
}

const localOf = () => localStorage;
const tabOf = () => sessionStorage;

function read(storage, key) {
  try {
    return JSON.parse(storage().getItem(key));
  } catch {
    return null; // forbidden, or not ours
  }
}

function write(storage, key, value) {
  try {
    if (value === null) storage().removeItem(key);
    else storage().setItem(key, JSON.stringify(value));
  } catch {
    // Forbidden or full: the conversation then lasts as long as the page.
  }
}
