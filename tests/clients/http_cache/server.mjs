// The tests' own server on a free port of this machine alone; the package's script would listen everywhere.
import http from "node:http";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/node_modules/http-cache-tests/server/`);
const load = async (name) => (await import(new URL(name, folder))).default;
const handlers = {
  config: await load("handle-config.mjs"),
  state: await load("handle-state.mjs"),
  test: await load("handle-test.mjs"),
};

const server = http.createServer((request, response) => {
  const [, kind, ...rest] = new URL(request.url, "http://localhost/").pathname.split("/");
  if (kind in handlers) return handlers[kind](rest, request, response);
  response.statusCode = 404;
  response.end();
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
