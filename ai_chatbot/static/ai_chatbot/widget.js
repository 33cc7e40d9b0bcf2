/* The customer chat on any page, by one tag:

     <script src="https://support.example.com/widget.js" async></script>

   Attributes, all optional: data-language ("en", "zh-hans"; else the page's <html lang>, else
   the browser's), data-nickname and data-email (a customer the shop knows), data-vip="true" (who
   is served before others; anybody can say so).
   A shop on another origin must be in the server's CORS_ALLOWED_ORIGINS.
*/
(() => {
  const script =
    document.currentScript ?? document.querySelector("script[src*='/widget.js']");
  if (!script || window.supportChat) return;
  window.supportChat = true;
  const { origin } = new URL(script.src, location.href);
  const base = `${origin}/static/ai_chatbot/`;
  const { language = "", nickname = "", email = "", vip = "" } = script.dataset;
  const start = async () => {
    const { launch } = await import(`${base}chat/launcher.js`);
    launch({ origin, base, language, nickname, email, vip: vip === "true" });
  };
  if (document.body) start();
  else addEventListener("DOMContentLoaded", start);
})();
