/**
 * Keeps every file of the page, so that it works with the network off after the first visit. Answers carry the two
 * headers that give the page threads, for hosts that cannot set them. build.py writes the version here: with it this
 * file changes, which is how a browser learns of a new build, and every build has a cache of its own.
 */
const VERSION = "unbuilt";
const CONTENTS = new URL("contents.json", self.registration.scope).href;
const PREFIX = "tinyclap-page-";
const CACHE = PREFIX + VERSION;

self.addEventListener("install", (event) => event.waitUntil(keepAll()));
self.addEventListener("activate", (event) => event.waitUntil(forgetOthers().then(() => self.clients.claim())));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(self.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});

async function keepAll() {
  const contents = await (await fetch(CONTENTS, { cache: "no-store" })).json();
  const cache = await caches.open(CACHE);
  const files = ["./", "contents.json", ...contents.files].map((name) => new URL(name, self.registration.scope).href);
  await Promise.all(files.map(async (url) => {
    const found = await fetch(url, { cache: "no-cache" });
    if (!found.ok) throw new Error(`${url}: ${found.status}`);
    await cache.put(url, found);
  }));
  await self.skipWaiting();
}

/** Remove what other builds kept. */
async function forgetOthers() {
  const others = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(others.map((name) => caches.delete(name)));
}

async function answer(request) {
  const kept = await (await caches.open(CACHE)).match(request, { ignoreSearch: true });
  return isolated(kept ?? (await fetch(request)));
}

function isolated(response) {
  if (response.status === 0 || response.type === "opaqueredirect") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
