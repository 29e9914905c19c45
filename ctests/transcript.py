"""Reads a JSON transcript of the chat program: each line is an object, and the tokens' texts make up each result's text."""

import json
import sys

NUMBERS = ("prompt_tokens", "cached_tokens", "generated_tokens", "granted_tokens", "asked_tokens", "tokens_per_second",
           "queued_us", "prefill_us", "decode_us", "bytes_asked", "leased_bytes", "kv_bytes", "bytes_free")

text, tokens, results, stats = "", 0, 0, 0
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        event = json.loads(line)
        kind = event["event"]
        if kind in ("token", "text"):
            text += event["text"]
        if kind == "token":
            tokens += 1
            assert event["id"] >= 0 and event["logprob"] <= 0 and event["top"] == [], event
        elif kind == "result":
            results += 1
            assert event["text"] == text, (event["text"], text)
            # An end-of-text token is an event, but not part of the answer.
            assert tokens - 1 <= event["generated_tokens"] <= tokens, (event, tokens)
            assert all(isinstance(event[name], (int, float)) for name in NUMBERS), event
            assert event["decision"] in ("accept", "shrink") and event["ending"], event
            text, tokens = "", 0
        elif kind == "stats":
            stats += 1
            assert event["memory"]["active_sessions"] == 1, event
assert results == 3 and stats == 1, (results, stats)
