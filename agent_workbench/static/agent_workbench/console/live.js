/* The agent's one stream. To watch another conversation a new stream is opened, and the old one
   is closed once the new one is there, so that nothing is missed between. */

import { Stream } from "../../ai_chatbot/chat/stream.js";

export class Live {
  /**
   * share: tells this agent's tabs from another's, who was logged in here before.
   * prepare(watched): before a refused stream is tried again; resolves to false to let it be.
   * onConnected(watched, frame), onEvent(event, watched), onLink(up), onDrop(watched).
   */
  constructor({ api, share, prepare, onConnected, onEvent, onLink, onDrop }) {
    Object.assign(this, { api, share, prepare, onConnected, onEvent, onLink, onDrop });
    // undefined: not open yet; null: open, and watching no conversation.
    this.watched = undefined;
    this.stream = null;
    // Has its connection been lost just now?
    this.down = false;
  }

  watch(name) {
    if (this.watched === name) return;
    this.watched = name;
    const former = this.stream;
    // Had it ended with a right, it would be refused when it tries again.
    if (this.down) former.close();
    this.down = false;
    const stream = (this.stream = new Stream({
      address: () => this.api.events(name),
      options: { share: this.share },
      prepare: async () => ((await this.prepare(name)) ? "" : null),
      onConnected: (_payload, frame) => {
        former?.close();
        if (stream === this.stream) this.down = false;
        this.onConnected(name, frame);
      },
      onEvent: (event) => this.onEvent(event, name),
      onLink: (up) => stream === this.stream && this.onLink(up),
      onDrop: () => {
        if (stream !== this.stream) {
          stream.close();
          return;
        }
        this.down = true;
        this.onDrop(name);
      },
    }));
    stream.open("");
    // If the new one cannot be had, the old one is not to stay for ever.
    if (former) setTimeout(() => former.close(), 10_000);
  }
}
