// What a page can do more with scripts: it follows changes without being loaded anew, appends new
// lines of logs, marks ranges of lines and copies recipes. Everything can be read without it.
(() => {
  "use strict";

  const LOG_PAUSE_MS = 700;
  const PAGE_PAUSE_MS = 900;
  const PAGE_BEAT_MS = 5000;
  const FOCUSABLE = "a[href], button, input, summary, [tabindex]";

  const live = () => document.body.hasAttribute("data-live");

  // The page again, without the lines of logs unless they are wanted.
  async function load(logs) {
    const address = new URL(location.href);
    address.hash = "";
    if (!logs) address.searchParams.set("logs", "0");
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  // Whether the reader is marking text in `part`, which a change would undo.
  function marking(part) {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
  }

  // Puts `fresh` in the place of `old`, keeping what the reader has unfolded, scrolled and focused.
  function put(old, fresh) {
    const open = new Map();
    for (const part of old.querySelectorAll("details[id]")) open.set(part.id, part.open);
    const scrolled = new Map();
    for (const part of old.querySelectorAll("[data-keep-scroll]")) {
      scrolled.set(part.dataset.keepScroll, [part.scrollLeft, part.scrollTop]);
    }
    const focused = [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    old.replaceWith(fresh);
    for (const part of fresh.querySelectorAll("details[id]")) {
      if (open.has(part.id)) part.open = open.get(part.id) || part.open;
    }
    for (const part of fresh.querySelectorAll("[data-keep-scroll]")) {
      const place = scrolled.get(part.dataset.keepScroll);
      if (place) [part.scrollLeft, part.scrollTop] = place;
    }
    if (focused >= 0) fresh.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  }

  const sent = new WeakMap();
  const html = (part) => sent.get(part) ?? part.outerHTML;

  // Brings the fragments up to date. One with a key is replaced whole only when its key changes,
  // because its logs are followed line by line.
  async function refresh() {
    let page = await load(false);
    const keyed = document.querySelector("[data-key]");
    const other = keyed && page.getElementById(keyed.id);
    if (keyed && other && other.dataset.key !== keyed.dataset.key) {
      page = await load(true);
      const whole = page.getElementById(keyed.id);
      if (whole) put(keyed, document.adoptNode(whole));
    }
    for (const fresh of [...page.querySelectorAll("[data-frag]:not([data-key])")]) {
      const old = document.getElementById(fresh.id);
      const text = fresh.outerHTML;
      if (!old || html(old) === text || marking(old)) continue;
      const node = document.adoptNode(fresh);
      sent.set(node, text);
      put(old, node);
    }
    document.title = page.title;
    const icon = page.querySelector("link[rel=icon]");
    if (icon) document.querySelector("link[rel=icon]")?.replaceWith(document.adoptNode(icon));
    document.body.toggleAttribute("data-live", page.body.hasAttribute("data-live"));
    follow();
    unlock();
  }

  // One refresh at a time, and none while nobody looks.
  let busy = false;
  let again = false;
  async function poke() {
    if (document.hidden) return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      await refresh();
    } catch (error) {
      console.debug("refresh", error);
    }
    setTimeout(() => {
      busy = false;
      if (again) {
        again = false;
        poke();
      }
    }, PAGE_PAUSE_MS);
  }

  let stream = null;
  function watch() {
    stream?.close();
    stream = null;
    if (document.hidden || !live()) return;
    stream = new EventSource("/events");
    let first = true;
    stream.addEventListener("change", () => {
      if (!first) poke();
      first = false;
      if (!live()) {
        stream?.close();
        stream = null;
      }
    });
  }

  // Appends what came to the logs that are still being written.
  const followed = new WeakSet();
  function follow() {
    for (const log of document.querySelectorAll("pre[data-follow]")) {
      if (followed.has(log)) continue;
      followed.add(log);
      grow(log);
    }
  }

  async function grow(log) {
    while (log.isConnected && log.hasAttribute("data-follow")) {
      const shown = !document.hidden && log.closest("details:not([open])") === null;
      if (shown) {
        try {
          const { follow: address, next, line, several } = log.dataset;
          const answer = await fetch(`${address}?offset=${next}&line=${line}&several=${several}`, { cache: "no-store" });
          if (!answer.ok) throw new Error(`status ${answer.status}`);
          const text = await answer.text();
          const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
          if (text) log.insertAdjacentHTML("beforeend", text);
          if (text && atEnd) log.scrollTop = log.scrollHeight;
          log.dataset.next = answer.headers.get("x-next-offset");
          log.dataset.line = answer.headers.get("x-next-line");
          if (answer.headers.get("x-live") !== "true") log.removeAttribute("data-follow");
        } catch (error) {
          console.debug("log", error);
        }
      }
      await new Promise((done) => setTimeout(done, LOG_PAUSE_MS));
    }
  }

  // #L5-L9 marks a range; a click on a second number with shift makes one.
  const RANGE = /^#((?:s\d+-)?)L(\d+)(?:-L(\d+))?$/;
  function mark() {
    for (const line of document.querySelectorAll(".l.on")) line.classList.remove("on");
    const match = RANGE.exec(location.hash);
    if (!match) return;
    const [from, to] = [Number(match[2]), Number(match[3] ?? match[2])];
    const first = document.getElementById(`${match[1]}L${Math.min(from, to)}`);
    if (!first) return;
    for (let part = first.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    let line = first;
    for (let count = Math.abs(to - from); line && count >= 0; count--, line = line.nextElementSibling) {
      line.classList.add("on");
    }
    first.scrollIntoView({ block: "center" });
  }

  document.addEventListener("click", (event) => {
    const number = event.target.closest?.(".log .l > a");
    if (!number || !event.shiftKey) return;
    const from = RANGE.exec(location.hash);
    const to = RANGE.exec(new URL(number.href).hash);
    if (!from || !to || from[1] !== to[1]) return;
    event.preventDefault();
    location.hash = `${from[1]}L${from[2]}-L${to[2]}`;
  });

  function unlock() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button[data-copy][hidden]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1500);
      });
    }
  }

  window.addEventListener("hashchange", mark);
  document.addEventListener("visibilitychange", () => {
    watch();
    if (!document.hidden && live()) poke();
  });
  setInterval(() => live() && poke(), PAGE_BEAT_MS);
  unlock();
  mark();
  follow();
  watch();
})();
