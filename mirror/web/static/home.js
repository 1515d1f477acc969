// Keeps the numbers of the home page fresh. The page is complete without it.
"use strict";

(() => {
  const PERIOD = 2000; // milliseconds between two looks
  const STATES = { online: "Online", offline: "Offline: serving what is stored", degraded: "Degraded" };
  const at = (id) => document.getElementById(id);
  const before = new Map(); // what of each fill was there at the last look: [bytes, milliseconds]

  const size = (bytes) => {
    for (const unit of ["B", "KiB", "MiB", "GiB"]) {
      if (bytes < 1024) {
        return unit === "B" || bytes >= 100 ? `${bytes.toFixed(0)} ${unit}` : `${bytes.toFixed(1)} ${unit}`;
      }
      bytes /= 1024;
    }
    return `${bytes.toFixed(1)} TiB`;
  };

  const lasting = (seconds) => {
    const minutes = Math.floor(seconds / 60);
    const days = Math.floor(minutes / 1440);
    const hours = Math.floor(minutes / 60) % 24;
    if (days) return `${days} d ${hours} h`;
    return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
  };
  const short = (seconds) => (seconds < 120 ? `${Math.max(1, Math.round(seconds))} s` : lasting(seconds));
  const percent = (ratio) =>
    ratio > 0.99 && ratio < 1 ? `${Math.min(99.9, ratio * 100).toFixed(1)} %` : `${(ratio * 100).toFixed(0)} %`;

  // Text goes in as text: a repo's name is upstream's word, never markup.
  const piece = (tag, name, text) => {
    const node = document.createElement(tag);
    node.className = name;
    node.textContent = text;
    return node;
  };
  const set = (id, text) => {
    const node = at(id);
    if (node && node.textContent !== text) node.textContent = text;
  };

  const fill = (one, now) => {
    const repo = (one.repo || "a private repo").replace(/^(models|datasets|spaces)\//, "");
    const name = `${repo}${one.file ? `: ${one.file}` : ""}`;
    const key = `${one.hub} ${name} ${one.size}`;
    const [had, then] = before.get(key) || [];
    // The rate of the last look, where there was one; else the average since the fill began.
    const rate = then === undefined || one.received < had ? one.rate || 0 : ((one.received - had) * 1000) / (now - then);
    const row = document.createElement("li");
    const bar = document.createElement("progress");
    bar.max = Math.max(one.size, 1);
    bar.value = one.received;
    bar.setAttribute("aria-label", name);
    const share = one.size ? ` (${percent(Math.min(1, one.received / one.size))})` : "";
    const left = rate > 0 && one.size ? `, ${short((one.size - one.received) / rate)} left` : "";
    const readers = `${one.readers} ${one.readers === 1 ? "reader" : "readers"}`;
    const note = `${size(one.received)} of ${size(one.size)}${share}, ${size(rate)}/s${left}, ${readers}`;
    row.append(piece("span", "name", name), bar, piece("span", "note", note));
    return [row, key, one.received];
  };

  const fills = (report) => {
    const now = performance.now();
    const rows = report.fills.map((one) => fill(one, now));
    before.clear();
    for (const [, key, received] of rows) before.set(key, [received, now]);
    const shown = rows.map(([row]) => row);
    at("fills").replaceChildren(...(shown.length ? shown : [piece("li", "none", "Nothing at the moment.")]));
    const more = (report.filling || 0) - shown.length;
    set("more-fills", more > 0 ? `and ${more.toLocaleString("en")} more` : "");
  };

  const room = (store) => {
    const free = store.free || 0;
    const whole = store.quota || store.bytes + free;
    const meter = at("meter");
    if (!meter) return;
    [meter.max, meter.low, meter.high] = [whole, whole * 0.8, whole * 0.95];
    meter.value = store.bytes;
    const what = store.quota ? "quota" : "what the disk has for it";
    set("room", `${size(store.bytes)} of ${size(whole)} (${what}), room for ${free ? size(free) : "nothing"} more`);
  };

  const show = (report) => {
    at("state").dataset.state = report.state;
    set("state", STATES[report.state] || report.state);
    set("uptime", lasting(report.uptime));
    const reasons = report.reasons || [];
    if (at("reasons").childElementCount !== reasons.length || at("reasons").textContent !== reasons.join("")) {
      at("reasons").replaceChildren(...reasons.map((reason) => piece("li", "", reason)));
    }
    set("bytes", size(report.store.bytes));
    set("blobs", (report.store.bytes && report.store.blobs).toLocaleString("en"));
    for (const [kind, number] of Object.entries((report.cached || {}).huggingface || {})) {
      set(`count-${kind}`, number.toLocaleString("en"));
    }
    if (report.traffic) {
      const { served, fetched, requests, hits } = report.traffic;
      set("saved", size(Math.max(0, served - fetched)));
      if (requests) set("ratio", percent(Math.min(1, hits / requests)));
    }
    room(report.store);
    fills(report);
  };

  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("/-/status", { cache: "no-store" });
        show(await answer.json());
      } catch {
        at("state").dataset.state = "degraded";
        set("state", "The mirror does not answer");
      }
    }
    setTimeout(look, PERIOD);
  };
  setTimeout(look, PERIOD);
})();
