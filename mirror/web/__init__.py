"""The door that clients come in by: HTTP/1.1 on aiohttp, bytes by sendfile."""
