// Keeps the page current: fetches the same address every two seconds and replaces the parts whose content has changed.
// Without this script the page is complete and reloads itself (see the noscript element in base.html).
"use strict";

const PERIOD_MS = 2000;
const lost = document.getElementById("lost");

function isInUse(part) {
  const selection = document.getSelection();
  return !selection.isCollapsed && part.contains(selection.anchorNode); // the user is copying text, such as a UID
}

function replace(part, fresh) {
  const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  part.innerHTML = fresh.innerHTML;
  if (focused) {
    part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

async function refresh() {
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) {
    throw new Error(`the node answered ${response.status}`);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (fresh && fresh.innerHTML !== part.innerHTML && !isInUse(part)) {
      replace(part, fresh);
    }
  }
}

async function loop() {
  if (!document.hidden) {
    try {
      await refresh();
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  }
  setTimeout(loop, PERIOD_MS);
}

setTimeout(loop, PERIOD_MS);
