#!/usr/bin/env python3
"""Tables and chart of one or more runs on one machine: `report.py RESULTS.JSON... --out FOLDER [--page FILE.MD]`."""

import argparse
import json
import os
import pathlib
import sys

import chart
import compare
import table
from cells import cell
from engines.llama_cpp import LlamaCpp
from engines.onnxruntime import OnnxRuntime
from engines.openvino import OpenVino
from engines.plimsoll import Plimsoll
from engines.transformers import Transformers

ENGINES = (OpenVino, LlamaCpp, OnnxRuntime, Transformers, Plimsoll)
# What must be the same in runs that share a table.
SAME = ("threads", "cpus", "level", "new")
PAGE = """# plimsoll beside its peers on one machine

Written by `make bench-peers`; how it measures is in [its README]({readme}).

![ratios to the best peer of each cell]({drawing})

"""


def joined(runs):
    """The results of several runs as those of one. Their rounds stay apart: ratios are taken within a round."""
    whole = dict(runs[0])
    for run in runs[1:]:
        for key in SAME:
            if run[key] != whole[key]:
                raise ValueError(f"{key}: {run[key]} in one run, {whole[key]} in another")
        if run["machine"]["processor"] != whole["machine"]["processor"]:
            raise ValueError("the runs are of different processors")
        first = 1 + max((value["round"] for value in whole["samples"] + whole["limits"]), default=-1)
        for key in ("samples", "limits"):
            whole[key] = whole[key] + [value | {"round": value["round"] + first} for value in run[key]]
        for key in ("versions", "failures"):
            whole[key] = list(dict.fromkeys(whole[key] + run[key]))
        whole["weight_bytes"] = whole["weight_bytes"] | run["weight_bytes"]
        whole["rounds"] = f"{whole['rounds']} + {run['rounds']}"
        whole["minutes"] = round(whole["minutes"] + run["minutes"], 1)
    return whole


def cells_in(results):
    """Cells that were measured, in the order in which they were first."""
    return [cell(name, results["new"]) for name in dict.fromkeys(sample["cell"] for sample in results["samples"])]


def write(results, cells, out, page):
    """Writes everything of these results, and returns the table."""
    out.mkdir(parents=True, exist_ok=True)
    machine, rows = results["machine"], compare.rows(results, ENGINES, cells)
    caption = f"{machine['processor']}, {results['threads']} threads, {results['level']}, {machine['date']}"
    summary = [vars(row) | {"met": row.met} for row in rows]
    (out / "results.json").write_text(json.dumps(results | {"rows": summary}, indent=1) + "\n")
    report = table.report(results, rows, [cell for cell in cells if cell.counted is not None])
    drawing = chart.svg(rows, caption)
    (out / "table.md").write_text(report)
    (out / "chart.svg").write_text(drawing)
    if page is not None:
        readme = os.path.relpath(pathlib.Path(__file__).with_name("README.md"), page.parent)
        page.write_text(PAGE.format(readme=readme, drawing=page.with_suffix(".svg").name) + report)
        page.with_suffix(".svg").write_text(drawing)
    return report


def add_page(parser):
    """The option `--page`."""

    def page(text):
        path = pathlib.Path(text)
        if path.suffix != ".md" or not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"{path}: no .md in a folder that is there")
        return path

    parser.add_argument("--page", type=page, metavar="FILE.MD", help="a page that is written with its chart, such as docs/speed.md")


def main(given):
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("results", type=pathlib.Path, nargs="+", metavar="RESULTS.JSON")
    a.add_argument("--out", type=pathlib.Path, required=True, help="results.json, table.md, chart.svg go here")
    add_page(a)
    options = a.parse_args(given)
    try:
        results = joined([json.loads(path.read_text()) for path in options.results])
    except ValueError as reason:
        a.error(str(reason))
    print(write(results, cells_in(results), options.out, options.page))
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
