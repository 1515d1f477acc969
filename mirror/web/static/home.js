// Keeps the numbers of the home page fresh. The page is complete without it.
"use strict";

(() => {
  const PERIOD = 2000; // milliseconds between two looks
  const STATES = {
    online: "Online",
    offline: "Offline: serving what is stored",
    degraded: "Upstream does not answer: serving what is stored",
  };
  const at = (id) => document.getElementById(id);

  const size = (bytes) => {
    for (const unit of ["B", "KiB", "MiB", "GiB"]) {
      if (bytes < 1024) {
        return unit === "B" || bytes >= 100 ? `${bytes.toFixed(0)} ${unit}` : `${bytes.toFixed(1)} ${unit}`;
      }
      bytes /= 1024;
    }
    return `${bytes.toFixed(1)} TiB`;
  };

  const uptime = (seconds) => {
    const minutes = Math.floor(seconds / 60);
    const days = Math.floor(minutes / 1440);
    const hours = Math.floor(minutes / 60) % 24;
    if (days) return `${days} d ${hours} h`;
    return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
  };

  // Text goes in as text: a repo's name is upstream's word, never markup.
  const piece = (tag, name, text) => {
    const node = document.createElement(tag);
    node.className = name;
    node.textContent = text;
    return node;
  };

  const fill = (one) => {
    const row = document.createElement("li");
    const bar = document.createElement("progress");
    bar.max = one.size;
    bar.value = one.received;
    const readers = `${one.readers} ${one.readers === 1 ? "reader" : "readers"}`;
    const note = `${size(one.received)} of ${size(one.size)}, ${size(one.rate || 0)}/s, ${readers}`;
    row.append(piece("span", "name", one.repo || "a private repo"), bar, piece("span", "note", note));
    return row;
  };

  const show = (report) => {
    at("state").dataset.state = report.state;
    at("state").textContent = STATES[report.state] || report.state;
    at("uptime").textContent = uptime(report.uptime);
    at("bytes").textContent = size(report.store.bytes);
    at("blobs").textContent = report.store.blobs.toLocaleString("en");
    at("room").textContent = size(report.store.quota === null ? report.store.free : report.store.quota);
    const rows = report.fills.map(fill);
    at("fills").replaceChildren(...(rows.length ? rows : [piece("li", "none", "Nothing at the moment.")]));
  };

  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("/-/status", { cache: "no-store" });
        if (answer.ok) show(await answer.json());
      } catch {
        at("state").dataset.state = "degraded";
        at("state").textContent = "The mirror does not answer";
      }
    }
    setTimeout(look, PERIOD);
  };
  setTimeout(look, PERIOD);
})();
