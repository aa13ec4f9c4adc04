/** Keeps the page for days without a network. */

/** Register the service worker; tell is called when every file is kept, or with the reason why none is. */
export async function keepOffline(tell) {
  if (!("serviceWorker" in navigator)) return tell("This browser cannot keep the page for offline use.");
  try {
    await navigator.serviceWorker.register(new URL("../service_worker.js", import.meta.url));
    await navigator.serviceWorker.ready;
  } catch (error) {
    return tell(`The page is not kept for offline use (${error.message}).`);
  }
  document.documentElement.dataset.offline = "ready";
  return tell("Kept on this device: it works with the network off.");
}
