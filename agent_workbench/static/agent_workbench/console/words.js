/* The console's dictionary: its own words over those it shares with the chat. */

import { dictionaries as shared, pickLanguage, translator } from "../../ai_chatbot/chat/strings.js";
import zhHans from "./zh-hans.js";

export const dictionaries = { en: {}, "zh-hans": zhHans };

export function pageTranslator() {
  const language = pickLanguage(document.documentElement.lang, navigator.languages);
  return translator(language, { ...shared[language], ...dictionaries[language] });
}

export function statusName(status, t) {
  switch (status) {
    case "bot_active":
      return t("With the AI");
    case "pending_manual":
      return t("Waiting");
    case "manual_live":
      return t("With an agent");
    case "after_hours_email":
      return t("By email");
    default:
      return t("Closed");
  }
}

export const statuses = [
  "bot_active",
  "pending_manual",
  "manual_live",
  "after_hours_email",
  "closed",
];

/** The customer's own name, else something to tell anonymous ones apart by. */
export function customerName({ nickname, session_name: name }, t) {
  return nickname || t("Guest {code}", { code: name.slice(-4) });
}

/** What `why` of a waiting conversation names. */
export function placeReason(code, t) {
  if (code === "ahead") return t("Was with an agent");
  if (code === "vip") return t("VIP");
  return priorityName(code, t);
}

export const priorities = ["urgent", "high", "normal", "low"];

export function priorityName(code, t) {
  switch (code) {
    case "urgent":
      return t("Urgent");
    case "high":
      return t("High priority");
    case "low":
      return t("Low priority");
    default:
      return t("Normal priority");
  }
}

/** Why a person was asked for; a rule's code is its own words. */
export function handoffReason(code, t) {
  switch (code) {
    case "requested":
      return t("Asked for a person");
    case "rule":
      return t("A rule asked for a person");
    case "ai":
      return t("The AI asked for a person");
    case "reply_failed":
      return t("The AI could not answer");
    case "taken_over":
      return t("Taken over without being asked for");
    case "assigned":
      return t("Assigned");
    case "transferred":
      return t("Handed on");
    case "requeued":
      return t("Put back in line");
    case "agent_lost":
      return t("The previous agent was lost");
    case "agent_silent":
      return t("The previous agent did not answer");
    case "customer_back":
      return t("The customer came back");
    default:
      return code.replaceAll(/[-_]/g, " ");
  }
}

export function outcomeName(code, t) {
  switch (code) {
    case "waiting":
      return t("Waiting");
    case "by_email":
      return t("By email");
    case "live":
      return t("With an agent");
    case "cancelled":
      return t("Cancelled by the customer");
    case "customer_gone":
      return t("The customer left");
    case "agent_lost":
      return t("The agent was lost");
    case "agent_silent":
      return t("The agent did not answer");
    case "requeued":
      return t("Put back in line");
    case "transferred":
      return t("Given to another agent");
    case "released":
      return t("Given back to the AI");
    default:
      return t("Closed");
  }
}

export function severityName(code, t) {
  return { low: t("Minor"), high: t("Serious") }[code] ?? "";
}

export function presenceName(code, t) {
  switch (code) {
    case "online":
      return t("Online");
    case "busy":
      return t("Busy");
    case "break":
      return t("On a break");
    default:
      return t("Offline");
  }
}

/** What a presence means for the one who has it. */
export function presenceMeaning(code, t) {
  switch (code) {
    case "online":
      return t("on duty, gets conversations");
    case "busy":
      return t("on duty, is given no new ones");
    case "break":
      return t("not on duty, keeps the present ones");
    default:
      return t("not on duty");
  }
}

/** What has happened while the agent did not look. */
export function noticeText({ kind, details }, customer, t) {
  switch (kind) {
    case "session_lost":
      return t("You were away, and {customer} went back into the line.", { customer });
    case "session_silent":
      return t("{customer} waited for your answer, and went back into the line.", { customer });
    case "customer_waits":
      return t("{customer} is waiting for your answer.", { customer });
    case "agent_silent": {
      const name = details.agent?.name ?? t("an agent");
      return t("{customer} is waiting for an answer from {name}.", { customer, name });
    }
    case "session_moved": {
      const to = details.agent?.name;
      const name = details.by ?? t("A supervisor");
      return to
        ? t("{name} gave {customer} to {to}.", { name, customer, to })
        : t("{name} put {customer} back into the line.", { name, customer });
    }
    default:
      return t("There is news of {customer}.", { customer });
  }
}

/** What a colleague has answered, or where one is mentioned. */
export function newsText({ kind, payload }, customer, t) {
  const name = (payload.to_agent ?? payload.note?.author ?? payload.by)?.name;
  if (kind === "mention") {
    return t("{name} mentions you in a note about {customer}.", { name, customer });
  }
  if (kind === "assist_answer") {
    return t("{name} has answered your question about {customer}.", { name, customer });
  }
  switch (payload.status) {
    case "accepted":
      return t("{name} has taken over {customer}.", { name, customer });
    case "declined":
      return t("{name} declined. {customer} stays with you.", { name, customer });
    default:
      return t("{name} did not answer in time. {customer} stays with you.", { name, customer });
  }
}

/** How a reply has reached the customer. */
export function deliveryText(delivery, address, t) {
  switch (delivery) {
    case "live":
      return t("Shown on the customer's page");
    case "mail":
      return t("Goes by email to {address}", { address });
    default:
      return t("No address: seen when the customer comes back");
  }
}

/** What the customer thought of an answer of the AI. */
export function feedbackText(helpful, t) {
  return helpful ? t("The customer: this helped") : t("The customer: this did not help");
}

/** What went wrong, and what can be done about it. */
export function problemText({ code, name, details }, t) {
  switch (code) {
    case "ALREADY_TAKEN":
    case "NOT_ASSIGNED":
      return name
        ? t("{name} has this conversation.", { name })
        : t("This conversation is not yours any more.");
    case "NOT_LIVE":
      return t("No agent has this conversation any more.");
    case "SESSION_CLOSED":
      return t("The conversation is closed.");
    case "ILLEGAL_TRANSITION":
      return t("The conversation has changed meanwhile. Look at it again.");
    case "AT_CAPACITY":
      return t("You have {n} of {most} conversations. End one of them first.", {
        n: details.sessions,
        most: details.max_sessions,
      });
    case "AGENT_UNAVAILABLE":
    case "AGENT_NOT_FOUND":
      return t("This colleague cannot take a conversation now.");
    case "TRANSFER_PENDING":
      return t("A colleague is being asked already.");
    case "TRANSFER_ENDED":
    case "ASSIST_ENDED":
      return t("This request is over.");
    case "ASSIST_OPEN":
      return t("This colleague is being asked already.");
    case "NOT_PERMITTED":
      return t("Your role does not permit this.");
    case "CSRF_FAILED":
      return t("Your login has changed in another tab. Please reload the page.");
    case "unreachable":
      return t("No connection. Please try again.");
    default:
      return t("That did not work. Please try again.");
  }
}

/** Minutes and seconds, as a queue counts them. */
export function stopwatch(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  const hours = Math.floor(seconds / 3600);
  const [minutes, rest] = parts.map((part) => String(part).padStart(2, "0"));
  return hours ? `${hours}:${minutes}:${rest}` : `${Number(minutes)}:${rest}`;
}
