"""Medians, ratios, bounds, targets, and what is shown of them."""

import json
import pathlib
import re
import tempfile
import unittest
import unittest.mock
import xml.etree.ElementTree

import chart
import limits
import table
from cells import cell
from compare import by_round, has, median, ratio_of, rows
from engines.engine import Engine, Record, Run, Weights
from engines.openvino import OpenVino
from engines.plimsoll import Plimsoll
from report import cells_in, joined, write
from rounds import Job, Rounds, fastest, known_ways, ways
from shapes import SHAPES, parameters

MACHINE = {"read": 30e9, "vnni_int8": 1.5e12, "avx512_f32": 0.3e12, "avx512_f16": 0.6e12}
LLAMA = "llama3.2-1b"


def sample(engine, weights, speed, number, name="decode", way=None):
    return {
        **{"shape": LLAMA, "engine": engine, "weights": weights, "cell": name, "way": way or {}, "round": number},
        **{"speed": speed, "tokens": 128, "seconds": 128 / speed, "more": {}, "peak_bytes": 1 << 30},
    }


class Fake(Engine):
    name = "Fake"
    weights = (Weights("int4", 4), Weights("int8", 8))


def results():
    """The machine slows down by half after the first round; plimsoll misses the third."""
    samples = [sample("Fake", "int4", speed, number) for number, speed in enumerate((20, 10, 10))]
    samples += [sample("plimsoll", "Q4_0", speed, number) for number, speed in enumerate((30, 15))]
    samples += [sample("Fake", "int8", 1000, 0)]
    measured = [MACHINE | {"round": number, "shape": LLAMA, "cell": "decode"} for number in range(3)]
    sizes = {f"{LLAMA} plimsoll Q4_0": 750_000_000}
    return {"samples": samples, "limits": measured, "weight_bytes": sizes, "failures": ["gone: why"]}


def whole():
    return results() | {
        **{"machine": dict.fromkeys(("processor", "cores", "memory", "kernel", "date"), "<&>"), "threads": 2, "minutes": 1.5},
        **{"cpus": [0, 1], "level": "native", "rounds": 3, "new": 128, "versions": ["fake==1"]},
    }


class Ratios(unittest.TestCase):
    def test_the_fastest_way_of_a_round_counts(self):
        samples = [sample("Fake", "int4", speed, 0) for speed in (3, 5, 4)]
        self.assertEqual(by_round(samples, engine="Fake"), {0: 5})

    def test_a_drift_of_the_machine_cancels_out(self):
        self.assertEqual(ratio_of({0: 30, 1: 15}, {0: 20, 1: 10, 2: 10}), 1.5)
        self.assertIsNone(ratio_of({0: 30}, {1: 20}))
        self.assertEqual(median({0: 30, 1: 15, 2: 20}), 20)

    def test_only_peers_of_the_same_width_are_compared(self):
        (found,) = rows(results(), [Fake(None), Plimsoll(None)], [cell("decode", 128), cell("batch-4", 128)])
        self.assertEqual((found.peer, found.ratio), ("Fake int4", 1.5))
        self.assertAlmostEqual(found.share, 22.5 / found.bound)

    def decode(self, read, openvino):
        """The decode row on a machine that reads so fast, beside an OpenVINO that does; without one for None."""
        made = results()
        for measured in made["limits"]:
            measured["read"] = read
        if openvino:
            made["samples"] += [sample("OpenVINO", "int4", openvino, number) for number in range(2)]
        (found,) = rows(made, [Fake(None), OpenVino(None), Plimsoll(None)], [cell("decode", 128)])
        return found

    def test_reads_beside_the_runs_count_before_those_of_the_round(self):
        made = results()
        beside = [value | {"read": 17.5e9} if value["engine"] == "plimsoll" else value for value in made["samples"]]
        (found,) = rows(made | {"samples": beside}, [Fake(None), Plimsoll(None)], [cell("decode", 128)])
        self.assertAlmostEqual(found.bound * 30e9 / 17.5e9, self.decode(30e9, None).bound)
        self.assertAlmostEqual(found.share, 22.5 / found.bound)

    def test_rounds_without_such_reads_do_not_count_beside_those_with(self):
        made = results()
        beside = [value | {"read": 15e9} if has(value, {"engine": "plimsoll", "round": 1}) else value for value in made["samples"]]
        (found,) = rows(made | {"samples": beside}, [Fake(None), Plimsoll(None)], [cell("decode", 128)])
        self.assertAlmostEqual(found.bound * 2, self.decode(30e9, None).bound)
        self.assertAlmostEqual(found.share, 15 / found.bound)
        self.assertEqual(found.rounds, 2)

    def test_met_needs_the_ratio_and_the_share(self):
        fast, slow = 30e9, 17.5e9  # 40 and 23.3 tokens a second, of which 22.5 are 0.56 and 0.96
        for read, openvino, met in ((slow, 15, True), (fast, 15, False), (slow, 16, False)):
            self.assertIs(self.decode(read, openvino).met, met, (read, openvino))

    def test_a_target_is_of_the_peer_that_it_names(self):
        found = self.decode(17.5e9, 9)
        self.assertEqual((found.peer, found.ratio), ("Fake int4", 1.5))
        self.assertEqual((found.target, found.target_peer), (1.45, "OpenVINO int4"))
        self.assertAlmostEqual(found.target_ratio, 2.5)
        self.assertIn("1.50 | 2.50 (≥ 1.45) OpenVINO int4 |", table.compared([found]))
        missing = self.decode(17.5e9, None)
        self.assertEqual((missing.target_peer, missing.target_ratio), ("OpenVINO", None))
        self.assertTrue(missing.met, "the share is all that could be looked at")

    def test_ahead_of_the_named_peer_is_not_enough(self):
        made = results()
        made["samples"] += [sample("OpenVINO", "int4", 5, number) for number in range(2)]
        made["samples"] += [sample("Fake", "int4", 40, number) for number in range(2)]
        (found,) = rows(made, [Fake(None), OpenVino(None), Plimsoll(None)], [cell("decode", 128)])
        self.assertGreater(found.target_ratio, found.target)
        self.assertFalse(found.met)


class Bounds(unittest.TestCase):
    weights = Weights("Q4_0", 4)

    def test_parameters_are_those_of_the_real_models(self):
        self.assertEqual(sum(parameters(SHAPES[LLAMA])), 1_235_746_816)
        self.assertEqual(sum(parameters(SHAPES["qwen2.5-0.5b"])), 493_961_216)

    def test_decode_reads_weights_and_what_is_held(self):
        # 16 layers of keys and values of 8 heads of 64: 32 KiB a token.
        held = 2112 * 32768
        found = limits.bound(LLAMA, cell("decode-2048", 128), self.weights, 750e6, MACHINE)
        self.assertAlmostEqual(found, 30e9 / (750e6 + held))

    def test_prefill_is_bound_by_the_arithmetic_of_the_width(self):
        layers, _ = parameters(SHAPES[LLAMA])
        prefill = cell("prefill-512", 128)
        self.assertAlmostEqual(limits.bound(LLAMA, prefill, self.weights, 1, MACHINE), 1.5e12 / (2 * layers))
        self.assertAlmostEqual(limits.bound(LLAMA, prefill, Weights("BF16", 16), 1, MACHINE), 0.6e12 / (2 * layers))

    def test_a_large_batch_is_bound_by_arithmetic(self):
        few, many = (limits.bound(LLAMA, cell(f"batch-{n}", 128), self.weights, 750e6, MACHINE) for n in (4, 1000))
        self.assertAlmostEqual(few, 4 * 30e9 / (750e6 + 4 * 160 * 32768))
        self.assertAlmostEqual(many, 1.5e12 / (2 * 1_235_746_816))


class Ways(Fake):
    ways = ({"a": 1}, {"a": 2})


class Turns(unittest.TestCase):
    def test_all_ways_first_then_the_fastest_of_each_cell(self):
        job, decode, prefill = Job("", Ways(None), Ways.weights[0], ""), cell("decode", 128), cell("prefill-512", 128)
        self.assertEqual(ways(job, decode, {}), [{"a": 1}, {"a": 2}])
        best = fastest(
            [
                sample("Fake", "int4", 5, 0, way={"a": 1}),
                sample("Fake", "int4", 6, 0, way={"a": 2}),
                sample("Fake", "int4", 9, 0, "prefill-512", {"a": 1}),
            ]
        )
        self.assertEqual(ways(job, decode, best), [{"a": 2}])
        self.assertEqual(ways(job, prefill, best), [{"a": 1}])

    def test_ways_of_an_earlier_run_are_taken_where_it_tells_them(self):
        job = Job(LLAMA, Ways(None), Ways.weights[0], "")
        earlier = [sample("Fake", "int4", 5, 0, way={"a": 1}), sample("Fake", "int4", 6, 0, way={"a": 2})]
        earlier += [sample("Fake", "int8", 7, 0, way={"a": 1}), sample("Fake", "int4", 9, 0, way={"b": 1})]
        known = known_ways(job, earlier)
        self.assertEqual(known, {"decode": {"a": 2}})
        self.assertEqual(ways(job, cell("decode", 128), known), [{"a": 2}])
        self.assertEqual(ways(job, cell("decode-2048", 128), known), [{"a": 1}, {"a": 2}])

    def test_engines_take_turns_cell_by_cell(self):
        ran = []

        class Noting(Ways):
            def run(self, model, weights, cells, way, *_):
                ran.append((model, cells[0].name, way["a"]))
                return Run([Record(cells[0].name, way["a"], 1.0)])

        jobs = [Job(LLAMA, Noting(None), Noting.weights[0], model) for model in ("one", "other")]
        rounds = Rounds(jobs, [cell(name, 128) for name in ("decode", "decode-2048", "arrival-512")], None, None, None)
        with unittest.mock.patch("limits.measure", return_value=MACHINE):
            self.assertEqual(len(list(rounds.run(2))), 2)
        first = [(model, name, way) for name in ("decode", "decode-2048") for model in ("one", "other") for way in (1, 2)]
        self.assertEqual(ran, first + [(model, name, 2) for model, name, way in first if way == 2])
        self.assertEqual([value["cell"] for value in rounds.results["limits"]], ["decode", "decode-2048"] * 2)

    def test_memory_is_read_before_and_after_what_is_to_be_a_share_of_it(self):
        happened = []

        class Ours(Plimsoll):
            def run(self, model, weights, cells, *_):
                happened.append(cells[0].name)
                return Run([Record(cells[0].name, 1, 1.0)])

        def mean_read(*_):
            happened.append("read")
            return 10.0 * len(happened)

        jobs = [Job(LLAMA, Ours(None), Weights("Q4_0", 4), "")]
        rounds = Rounds(jobs, [cell(name, 128) for name in ("decode", "prefill-512")], None, None, None)
        with unittest.mock.patch("limits.measure", return_value=MACHINE), unittest.mock.patch("limits.mean_read", mean_read):
            list(rounds.run(1))
        self.assertEqual(happened, ["read", "decode", "read", "prefill-512"])
        self.assertEqual([value.get("read") for value in rounds.results["samples"]], [20.0, None])

    def test_an_engine_that_fails_is_named_and_left_out(self):
        from process import Failed

        class Broken(Fake):
            def run(self, *_):
                raise Failed("no tokens")

        class Silent(Fake):
            def run(self, *_):
                return Run()

        for engine in (Broken(None), Silent(None)):
            decode = cell("decode", 128)
            rounds = Rounds([Job(LLAMA, engine, engine.weights[0], "")], [decode], None, None, None)
            rounds.step(rounds.jobs[0], decode, 0)
            self.assertEqual(rounds.jobs, [])
            self.assertEqual(len(rounds.results["failures"]), 1)


class Runs(unittest.TestCase):
    def second(self):
        slow = {"samples": [sample("OpenVINO", "int4", 5, 0)], "weight_bytes": {"other": 1}, "failures": ["gone: why", "late"]}
        measured = [MACHINE | {"round": 0, "shape": LLAMA, "cell": "decode"}]
        return whole() | slow | {"limits": measured, "rounds": 1, "versions": ["other==2"]}

    def test_ratios_are_never_taken_between_runs(self):
        both = joined([whole(), self.second()])
        self.assertEqual(by_round(both["samples"], engine="OpenVINO"), {3: 5})
        self.assertEqual([measured["round"] for measured in both["limits"]], [0, 1, 2, 3])
        self.assertEqual((both["rounds"], both["minutes"]), ("3 + 1", 3.0))
        self.assertEqual((both["versions"], both["failures"]), (["fake==1", "other==2"], ["gone: why", "late"]))
        self.assertEqual(both["weight_bytes"].keys(), {f"{LLAMA} plimsoll Q4_0", "other"})
        (found,) = rows(both, [Fake(None), OpenVino(None), Plimsoll(None)], cells_in(both))
        self.assertEqual((found.peer, found.ratio, found.others["OpenVINO int4"]), ("Fake int4", 1.5, 5))

    def test_runs_that_differ_are_refused(self):
        for change in ({"new": 64}, {"level": "avx512-vnni"}, {"machine": {"processor": "another"}}):
            with self.assertRaises(ValueError, msg=str(change)):
                joined([whole(), self.second() | change])

    def test_what_is_written_can_be_joined_again(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            report = write(joined([whole(), self.second()]), [cell("decode", 128)], folder, folder / "fast.md")
            self.assertIn("| OpenVINO | int4 |", report)
            page = (folder / "fast.md").read_text()
            self.assertTrue(page.endswith(report))
            (drawing,) = re.findall(r"!\[.*\]\((.*)\)", page)
            self.assertIn("<svg", (folder / drawing).read_text())
            (readme,) = re.findall(r"\[its README\]\((.*)\)", page)
            self.assertTrue((folder / readme).is_file())
            again = json.loads((folder / "results.json").read_text())
            self.assertEqual(joined([again, self.second()])["rounds"], "3 + 1 + 1")


class Pages(unittest.TestCase):
    def test_table_and_chart_show_the_ratio_and_what_was_left_out(self):
        made = whole()
        found = rows(made, [Fake(None), Plimsoll(None)], [cell("decode", 128)])
        page = table.report(made, found, [cell("decode", 128)])
        self.assertIn("| decode | Q4_0 | 2 | 22.5 | Fake int4 | 10.0 | 1.50 | – (≥ 1.45) OpenVINO |", page)
        self.assertIn("- gone: why", page)
        root = xml.etree.ElementTree.fromstring(chart.svg(found, "<&>"))
        self.assertTrue(any("1.50 × Fake int4" in (text.text or "") for text in root.iter()))


if __name__ == "__main__":
    unittest.main()
