"""Speaks to the stack over HTTP, and reads what it wrote from the files of the Delta table."""

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

    def run(self, name, connector, fields, nodes, edges):
        """Runs a graph; answers the run, its nodes by the client's ids, and the schema's id."""
        schema = self.call("POST", "/schemas", {"name": name, "fields": fields})["id"]
        body = {"name": name, "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges}
        pipeline = self.call("POST", "/pipelines", body)
        path = f"/pipelines/{pipeline['id']}"
        run = self.call("POST", f"{path}/run", {})["id"]
        end, wait = time.monotonic() + DEADLINE, 0.01
        while True:
            seen = self.call("GET", f"{path}/runs/{run}")
            if seen["status"] not in ("pending", "running"):
                break
            if time.monotonic() > end:
                raise RuntimeError(f"not finished in time: {seen}")
            time.sleep(wait)
            wait = min(wait * 1.5, 0.2)
        progress = self.call("GET", f"{path}/runs/{run}/progress")
        ids = {node["id"]: node["clientId"] for node in pipeline["nodes"]}
        return seen, {ids[node["id"]]: node for node in progress["nodes"]}, schema

    def files(self, schema):
        """The Parquet files that the log of the table lists."""
        table = self.lake / schema
        files = []
        for commit in sorted((table / "_delta_log").glob("*.json")):
            for line in commit.read_text().splitlines():
                action = json.loads(line)
                if "add" in action:
                    files.append(urllib.parse.unquote(action["add"]["path"]))
                if "remove" in action:
                    files.remove(urllib.parse.unquote(action["remove"]["path"]))
        return [str(table / file) for file in files]
