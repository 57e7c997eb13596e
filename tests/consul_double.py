"""A double of the part of Consul's HTTP API that the directory asks, for machines without Consul: `PORT FOLDER`.

One raft index for everything, sessions that run out after twice their TTL and take the keys that they lock with
them, transactions of all or nothing: as https://developer.hashicorp.com/consul/api-docs says of `catalog`,
`session` and `txn`. What it keeps is written to FOLDER, as a server's data is. The same tests run against Consul
itself where `.servers/consul` is.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SHORTEST_SECONDS, LONGEST_SECONDS = 1, 86400


class Datacenter:
    """What a majority of the servers agrees on."""

    def __init__(self, folder: Path) -> None:
        self.index = 10
        self.nodes: set[str] = set()
        self.sessions: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, float] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.file = folder / "keys.json"
        self.lock = threading.Lock()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON (or text) for a PUT of `body` to `path`."""
        with self.lock:
            for session in [session for session, end in self.ends.items() if end <= time.monotonic()]:
                self.destroy(session)
            self.index += 1
            match path.split("/"):
                case ["catalog", "register"]:
                    self.nodes.add(body["Node"])
                    return 200, True
                case ["session", "create"]:
                    return self.create(body)
                case ["session", "destroy", session]:
                    self.destroy(session)
                    return 200, True
                case ["session", "renew", session]:
                    if session not in self.sessions:
                        return 404, f"Session id '{session}' not found"
                    self.prolong(session)
                    return 200, [self.sessions[session]]
                case ["txn"]:
                    return self.transact([step["KV"] for step in body])
            return 404, "Invalid URL path"

    def create(self, body: Any) -> tuple[int, Any]:
        seconds = int(body["TTL"].removesuffix("s"))
        if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
            return 500, f"Invalid Session TTL '{seconds}000000000', must be between [1s=24h0m0s]"
        if body["Node"] not in self.nodes:
            return 500, "Missing node registration"
        session = str(uuid.uuid4())
        self.sessions[session] = {"ID": session, **body}
        self.prolong(session)
        return 200, {"ID": session}

    def prolong(self, session: str) -> None:
        self.ends[session] = time.monotonic() + 2 * int(self.sessions[session]["TTL"].removesuffix("s"))

    def destroy(self, session: str) -> None:
        gone = self.sessions.pop(session, {})
        self.ends.pop(session, None)
        for key in [key for key, entry in self.keys.items() if entry.get("Session") == session]:
            if gone["Behavior"] == "delete":
                del self.keys[key]
            else:
                del self.keys[key]["Session"]

    def transact(self, steps: list[dict[str, Any]]) -> tuple[int, Any]:
        results: list[Any] = []
        made: dict[str, dict[str, Any]] = {}
        for number, step in enumerate(steps):
            key = step["Key"]
            entry, wrong = {**self.keys, **made}.get(key), ""
            match step["Verb"]:
                case "get-or-empty":
                    empty = {"Key": key, "Value": None, "CreateIndex": 0, "ModifyIndex": 0, "LockIndex": 0}
                    results.append({"KV": entry or empty})
                case "check-not-exists":
                    wrong = f'key "{key}" exists' if entry else ""
                case "lock" if step["Session"] not in self.sessions:
                    wrong = f'invalid session "{step["Session"]}"'
                case "lock" if entry and entry.get("Session") not in {None, step["Session"]}:
                    wrong = f'failed to lock key "{key}", lock is already held'
                case "lock":
                    old = entry or {"CreateIndex": self.index, "LockIndex": 0}
                    taken = old["LockIndex"] + (old.get("Session") != step["Session"])
                    new = {**old, "ModifyIndex": self.index, "LockIndex": taken, "Flags": 0}
                    made[key] = {**new, "Key": key, "Value": step["Value"], "Session": step["Session"]}
                    results.append({"KV": {**made[key], "Value": None}})
            if wrong:
                return 409, {"Results": None, "Errors": [{"OpIndex": number, "What": wrong}]}
        self.keys |= made
        if made:
            self.file.write_text(json.dumps(self.keys))
        return 200, {"Results": results, "Errors": None}


class Door(BaseHTTPRequestHandler):
    datacenter: Datacenter
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.say(200, "127.0.0.1:8300")

    def do_PUT(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].removeprefix("/v1/")
        self.say(*self.datacenter.answer(path, json.loads(said or b"null")))

    def say(self, status: int, told: Any) -> None:
        body = told.encode() if status >= 400 and isinstance(told, str) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    Door.datacenter = Datacenter(Path(sys.argv[2]))
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Door).serve_forever()
