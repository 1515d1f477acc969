// Runs every test against the base URL and prints one JSON object: the kind and the outcome of each.
import http from "node:http";
import { pathToFileURL } from "node:url";

// A connection for each request: what stands before the mirror looks at the first line of each alone.
http.globalAgent = new http.Agent({ keepAlive: false });

const [, , modules, base] = process.argv;
const load = (name) => import(pathToFileURL(`${modules}/node_modules/${name}`));
const { runTests, getResults } = await load("http-cache-tests/client/runner.mjs");
const { default: tests } = await load("http-cache-tests/tests/index.mjs");
const { default: surrogate } = await load("http-cache-tests/tests/surrogate-control.mjs");
const { default: fetch } = await load("node-fetch/src/index.js").catch(() => load("node-fetch/lib/index.mjs"));

tests.push(surrogate);
const log = console.log;
console.log = () => {};
await runTests(tests, fetch, false, base, 25);
const results = getResults();
const told = {};
// What a test builds upon must hold before it says anything (the tool's own summary does the same).
const outcome = (test, result) => {
  if ((test.depends_on || []).some((id) => results[id] !== true)) return "untested";
  if (result === true) return "pass";
  return { Setup: "setup", Assertion: "fail" }[result[0]] || "error";
};
for (const suite of tests) {
  for (const test of suite.tests) {
    if (!(test.id in results)) continue;
    const result = results[test.id];
    told[test.id] = { kind: test.kind || "required", outcome: outcome(test, result), why: result[1] || "" };
  }
}
log(JSON.stringify(told));
