/* The agents' API, with the page's session cookie. */

import { call, ApiError } from "../../ai_chatbot/chat/http.js";

const BASE = "/workbench-api";
const CSRF_COOKIE = "support_csrf";

export class AgentApi {
  /** `onLoggedOut`: called when the server does not know us any more. */
  constructor({ onLoggedOut }) {
    this.onLoggedOut = onLoggedOut;
  }

  profile() {
    return this.#call("GET", "/agent/profile");
  }

  setStatus(status) {
    return this.#call("PUT", "/agent/status", { status });
  }

  queue() {
    return this.#call("GET", "/sessions/queue?limit=200");
  }

  mine() {
    return this.#call("GET", "/sessions?agent=mine&status=manual_live&limit=200");
  }

  sessions({ q, status, limit, cursor }) {
    const query = new URLSearchParams({ limit });
    if (q) query.set("q", q);
    if (status) query.set("status", status);
    if (cursor) query.set("cursor", cursor);
    return this.#call("GET", `/sessions?${query}`);
  }

  /** One as lists show it, which nobody is refused; undefined where there is none. */
  async summary(name) {
    const query = new URLSearchParams({ session_name: name });
    return (await this.#call("GET", `/sessions?${query}`)).items[0];
  }

  byEmail() {
    return this.#call("GET", "/sessions?status=after_hours_email&limit=200");
  }

  agents() {
    return this.#call("GET", "/agents?limit=200");
  }

  transferRequests() {
    return this.#call("GET", "/transfer-requests/pending");
  }

  assistRequests() {
    return this.#call("GET", "/assist-requests/pending");
  }

  notices() {
    return this.#call("GET", "/agent/notices");
  }

  readNotice(id) {
    return this.#call("POST", `/agent/notices/${id}/read`, {});
  }

  transfer(name, body) {
    return this.#call("POST", of(name, "/transfer"), body);
  }

  respond(id, accept) {
    return this.#call("POST", `/transfer-requests/${id}/respond`, { accept });
  }

  cancelTransfer(id) {
    return this.#call("DELETE", `/transfer-requests/${id}`);
  }

  ask(body) {
    return this.#call("POST", "/assist-requests", body);
  }

  answer(id, answer) {
    return this.#call("POST", `/assist-requests/${id}/answer`, { answer });
  }

  closeAssist(id) {
    return this.#call("DELETE", `/assist-requests/${id}`);
  }

  setPriority(name, priority) {
    return this.#call("PUT", of(name, "/priority"), { priority });
  }

  addNote(name, note) {
    return this.#call("POST", of(name, "/notes"), note);
  }

  changeNote(name, id, content) {
    return this.#call("PUT", of(name, `/notes/${id}`), { content });
  }

  deleteNote(name, id) {
    return this.#call("DELETE", of(name, `/notes/${id}`));
  }

  state(name) {
    return this.#call("GET", of(name));
  }

  older(name, before) {
    return this.#call("GET", of(name, `/messages?before=${before}&limit=50`));
  }

  send(name, { content, client_id }) {
    return this.#call("POST", of(name, "/messages"), { content, client_id });
  }

  /** `verb`: takeover, assign, requeue, release, close or reopen. */
  act(name, verb, body = {}) {
    return this.#call("POST", of(name, `/${verb}`), body);
  }

  events(watched) {
    const query = watched ? `?${new URLSearchParams({ watch: watched })}` : "";
    return `${BASE}/agent/events${query}`;
  }

  async #call(method, path, body) {
    const headers = method === "GET" ? {} : { "X-CSRFToken": csrfToken() };
    try {
      return await call(method, BASE + path, { body, headers, credentials: "same-origin" });
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.code === "NOT_AN_AGENT")) {
        this.onLoggedOut();
      }
      throw error;
    }
  }
}

const of = (name, rest = "") => `/sessions/${encodeURIComponent(name)}${rest}`;

/** The cookie's: it changes with a login in another tab. A site with another cookie name has the
 * one of the page's own forms. */
function csrfToken() {
  for (const part of document.cookie.split("; ")) {
    const [name, value] = part.split("=");
    if (name === CSRF_COOKIE) return value;
  }
  return document.querySelector("input[name='csrfmiddlewaretoken']")?.value ?? "";
}
