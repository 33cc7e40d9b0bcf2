/* The customer's API: the calls of one visitor. */

import { call } from "./http.js";

export class CustomerApi {
  constructor(origin) {
    this.base = `${origin}/api`;
  }

  config(language) {
    return call("GET", `${this.base}/config?language=${encodeURIComponent(language)}`);
  }

  begin({ language, nickname = "", email = "", vip = false }) {
    const body = { language, nickname, email, metadata: vip ? { vip } : {} };
    return call("POST", `${this.base}/sessions`, { body });
  }

  state(session) {
    return this.#call("GET", session, "");
  }

  older(session, before) {
    return this.#call("GET", session, `/messages?before=${before}&limit=50`);
  }

  send(session, { content, client_id }) {
    return this.#call("POST", session, "/messages", { content, client_id });
  }

  escalate(session) {
    return this.#call("POST", session, "/escalate", {});
  }

  leaveLine(session) {
    return this.#call("DELETE", session, "/escalate");
  }

  contact(session, { email, note }) {
    return this.#call("POST", session, "/contact", { email, note });
  }

  judge(session, messageId, { helpful, comment }) {
    return this.#call("POST", session, `/messages/${messageId}/feedback`, { helpful, comment });
  }

  /** A session's name and a token for it, by the link of a mail. */
  resume(link) {
    return call("POST", `${this.base}/sessions/resume`, { body: { link } });
  }

  stop(session) {
    return this.#call("POST", session, "/stop", {});
  }

  close(session) {
    return this.#call("POST", session, "/close", {});
  }

  events(session, cursor) {
    const query = cursor ? `?${new URLSearchParams({ last_event_id: cursor })}` : "";
    return this.#path(session, `/events${query}`);
  }

  #path(session, rest) {
    return `${this.base}/sessions/${encodeURIComponent(session.name)}${rest}`;
  }

  #call(method, session, rest, body) {
    return call(method, this.#path(session, rest), {
      body,
      headers: { Authorization: `Bearer ${session.token}` },
    });
  }
}
