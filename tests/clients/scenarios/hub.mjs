// @huggingface/hub in node: files, listings and the cache folder.
//
// The package is found from the folder that CLIENT_MODULES names, for modules are otherwise looked
// up beside the script, and the script lies outside the environment.

import { createHash } from "node:crypto";
import { readFile, readdir, realpath, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative, sep } from "node:path";
import process from "node:process";

const hub = createRequire(join(process.env.CLIENT_MODULES, "package.json"))("@huggingface/hub");

const report = {};

/** Runs one case and keeps what it gives or how it is refused. */
async function reportCase(name, call) {
  const began = Date.now();
  const outcome = {};
  try {
    outcome.value = await call();
  } catch (error) {
    outcome.errors = [error.constructor.name];
    outcome.message = `${error.statusCode ?? ""} ${error.message}`.trim();
  }
  outcome.seconds = (Date.now() - began) / 1000;
  report[name] = outcome;
}

/** Hex sha256 of bytes. */
function digest(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/** sha256 of every file below a folder, by its path there; links are followed. */
async function digests(folder) {
  const found = {};
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if ((await stat(path)).isFile()) {
      found[relative(folder, path).split(sep).join("/")] = digest(await readFile(await realpath(path)));
    }
  }
  return found;
}

/** Collects an asynchronous sequence. */
async function all(sequence) {
  const items = [];
  for await (const item of sequence) {
    items.push(item);
  }
  return items;
}

const chunks = await all(process.stdin);
const task = JSON.parse(Buffer.concat(chunks).toString());
const hubUrl = process.env.HF_ENDPOINT;

for (const one of task.downloads) {
  const where = {
    repo: { type: one.kind, name: one.repo_id },
    path: one.path,
    hubUrl,
    ...(one.revision ? { revision: one.revision } : {}),
    ...(one.token ? { accessToken: one.token } : {}),
  };
  await reportCase(`download ${one.name}`, async () => {
    const blob = await hub.downloadFile(where);
    return blob && digest(new Uint8Array(await blob.arrayBuffer()));
  });
}

const tiny = { repo: { type: "model", name: task.tiny }, hubUrl };
const forty = { repo: { type: "model", name: task.forty }, hubUrl };

await reportCase("window", async () => {
  const blob = await hub.downloadFile({ ...tiny, path: "model.safetensors" });
  const window = blob.slice(100_000, 105_000);
  return Buffer.from(await window.arrayBuffer()).toString("hex");
});
await reportCase("listFiles", async () => {
  const files = await all(hub.listFiles({ ...tiny, recursive: true }));
  return Object.fromEntries(files.map((file) => [file.path, file.size]));
});
await reportCase("listFiles of pages", async () => {
  const files = await all(hub.listFiles({ ...forty, recursive: true }));
  return files.filter((file) => file.type === "file").map((file) => file.path);
});
await reportCase("fileExists", () => hub.fileExists({ ...tiny, path: "config.json" }));
await reportCase("fileExists not", () => hub.fileExists({ ...tiny, path: "nope.json" }));
await reportCase("pathsInfo", async () => {
  const found = await hub.pathsInfo({ ...tiny, paths: ["config.json", "nope"], expand: true });
  return found.map((file) => [file.path, file.size, Boolean(file.lastCommit?.id)]);
});
await reportCase("modelInfo", async () => {
  const info = await hub.modelInfo({ name: task.tiny, hubUrl, additionalFields: ["sha"] });
  return [info.name, info.sha];
});
await reportCase("downloadFileToCacheDir", async () =>
  digest(await readFile(await hub.downloadFileToCacheDir({ ...tiny, path: "model.safetensors" }))),
);
await reportCase("snapshotDownload", async () => digests(await hub.snapshotDownload(forty)));

process.stdout.write(`\n${JSON.stringify(report)}\n`);
