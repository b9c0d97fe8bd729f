"""Speaks to the stack over HTTP."""

import http.client
import json
import pathlib
import threading
import time
import urllib.parse

DEADLINE = 120


class Stack:
    def __init__(self, url, token, lake):
        parts = urllib.parse.urlsplit(url)
        self.host, self.token, self.lake = parts.netloc, token, pathlib.Path(lake)
        self.local = threading.local()

    def call(self, method, path, body=None):
        """The answer's body; whatever is not 2xx is an error."""
        for attempt in (1, 2):
            if getattr(self.local, "http", None) is None:
                self.local.http = http.client.HTTPConnection(self.host, timeout=DEADLINE)
            try:
                headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
                text = None if body is None else json.dumps(body)
                self.local.http.request(method, f"/api/v1{path}", text, headers)
                answer = self.local.http.getresponse()
                said = answer.read()
                break
            except (http.client.HTTPException, OSError):
                # A connection that was kept open may have been closed in the meantime.
                self.local.http = None
                if attempt == 2:
                    raise
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {said.decode()}")
        return json.loads(said) if said else None

    def pipeline(self, name, connector, fields, nodes, edges, execution):
        """Makes a schema and a pipeline."""
        schema = self.call("POST", "/schemas", {"name": name, "fields": fields})["id"]
        body = {"name": name, "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges, "executionConfig": execution}
        return Pipeline(self, self.call("POST", "/pipelines", body), schema)


class Pipeline:
    def __init__(self, stack, made, schema):
        self.stack, self.path = stack, f"/pipelines/{made['id']}"
        # The client's ids of nodes by those that are stored.
        self.ids = {node["id"]: node["clientId"] for node in made["nodes"]}
        self.table = stack.lake / schema
        self.rejected_table = stack.lake / f"{schema}_rejected"

    def run(self):
        """Runs it; answers the run with its log, its nodes by the client's ids, and the rejected rows that it lists."""
        run = self.stack.call("POST", f"{self.path}/run", {})["id"]
        path, end, wait = f"{self.path}/runs/{run}", time.monotonic() + DEADLINE, 0.01
        while True:
            seen = self.stack.call("GET", path)
            if seen["status"] not in ("pending", "running"):
                break
            if time.monotonic() > end:
                raise RuntimeError(f"not finished in time: {seen}")
            time.sleep(wait)
            wait = min(wait * 1.5, 0.2)
        progress = self.stack.call("GET", f"{path}/progress")
        nodes = {self.ids[node["id"]]: node for node in progress["nodes"]}
        seen["log"] = " ".join(line["message"] for line in progress["log"])
        return seen, nodes, self.all(f"{path}/errors") if seen["failedRows"] else []

    def all(self, path):
        """All items of a list, page by page."""
        items, cursor = [], ""
        while True:
            page = self.stack.call("GET", f"{path}?limit=100{cursor}")
            items += page["data"]
            if not page["pagination"]["cursor"]:
                return items
            cursor = f"&cursor={page['pagination']['cursor']}"
