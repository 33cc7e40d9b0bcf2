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

/** Minutes and seconds, as a queue counts them. */
export function stopwatch(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  const hours = Math.floor(seconds / 3600);
  const [minutes, rest] = parts.map((part) => String(part).padStart(2, "0"));
  return hours ? `${hours}:${minutes}:${rest}` : `${Number(minutes)}:${rest}`;
}
