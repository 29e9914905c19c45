"""Checks that plimsoll.hpp wraps all of plimsoll.h: every function, every constant, every member of every struct.

    python3 wrapped.py INCLUDE_DIR [COVERAGE.gcov.json ...]

With coverage of the C++ tests, as `gcov --json-format --stdout` writes it, also that every function of plimsoll.hpp was called.
Prints what is missing; the exit status is 0 when nothing is.
"""

import json
import pathlib
import re
import sys

include = pathlib.Path(sys.argv[1])
comments = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
header = comments.sub("", (include / "plimsoll.h").read_text())
wrapper = "\n".join(comments.sub("", path.read_text()) for path in (include / "plimsoll").glob("*.hpp"))
words = set(re.findall(r"\w+", wrapper))

# The version and the include guard say nothing to wrap.
ignored = {"PLIMSOLL_H", "PLIMSOLL_VERSION_MAJOR", "PLIMSOLL_VERSION_MINOR", "PLIMSOLL_VERSION_PATCH"}
functions = set(re.findall(r"\b(plimsoll_[a-z0-9_]+)\s*\(", header))
constants = set(re.findall(r"#define (PLIMSOLL_\w+)", header)) - ignored
members = set()
for body in re.findall(r"typedef struct \{(.*?)\}", header, re.DOTALL):
    members.update(re.findall(r"(\w+);", body))
members -= {"reserved"}
assert min(len(functions), len(constants), len(members)) >= 50, "the header is not read as it should be"

missing = sorted((functions | constants | members) - words)

called, known = set(), set()
for path in sys.argv[2:]:
    for text in pathlib.Path(path).read_text().splitlines():
        for file in json.loads(text)["files"]:
            if "plimsoll/" not in file["file"] or not file["file"].endswith(".hpp"):
                continue
            for function in file["functions"]:
                # Instances of a template are one function: its place.
                place = f"{pathlib.Path(file['file']).name}:{function['start_line']}"
                name = (place, re.sub(r"\[.*", "", function["demangled_name"]))
                known.add(name)
                if function["execution_count"] > 0:
                    called.add(place)
uncalled = sorted({name for place, name in known if place not in called})
if len(sys.argv) > 2:
    assert len({place for place, _ in known}) >= 100, f"coverage of {len(known)} functions only"

for name in missing:
    print(f"not wrapped: {name}")
for name in uncalled:
    print(f"not called by any test: {name}")
sys.exit(bool(missing or uncalled))
