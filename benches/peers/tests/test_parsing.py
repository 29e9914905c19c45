"""What is read from the engines' output, and what is refused."""

import json
import os
import unittest

from cells import cell
from engines import plimsoll
from engines.engine import Record, checked, parse_lines
from engines.llama_cpp import groups, parse_batched, parse_bench
from engines.plimsoll import new_tokens
from machine import LEVELS
from process import Failed, Finished, Pinned


def bench(prompt, new, depth, *nanoseconds):
    return {"n_prompt": prompt, "n_gen": new, "n_depth": depth, "samples_ns": list(nanoseconds)}


class Cells(unittest.TestCase):
    def test_names(self):
        self.assertEqual(cell("prefill-512", 128).counted, 512)
        self.assertEqual(cell("decode", 128).counted, 128)
        self.assertEqual((cell("decode-2048", 128).prompt, cell("decode-2048", 128).held), (2048, 2112))
        batch = cell("batch-16", 128)
        self.assertEqual((batch.prompt, batch.new, batch.counted), (128, 64, 1024))
        self.assertIsNone(cell("turn-1024", 128).counted)

    def test_what_is_no_cell(self):
        for name in ("", "prefill", "batch", "decode-", "decode-x", "prefill--1", "prefill-0", "speed-3"):
            with self.assertRaises(ValueError, msg=name):
                cell(name, 128)

    def test_new_tokens_of_a_batch_are_half_of_those_asked_for(self):
        self.assertEqual(new_tokens([cell("batch-4", 128)]), 128)
        self.assertEqual(new_tokens([cell("decode", 32), cell("batch-4", 32)]), 32)
        self.assertEqual(new_tokens([cell("prefill-512", 128)]), 2)


class Workers(unittest.TestCase):
    def test_records_between_chatter(self):
        output = 'loading\n{"cell": "decode", "tokens": 8, "seconds": 0.5, "step_ms": 3}\n{"cell": "load", "seconds": 1}\n'
        self.assertEqual(parse_lines(output), [Record("decode", 8, 0.5, {"step_ms": 3})])
        self.assertEqual(parse_lines(output)[0].speed, 16)


class LlamaCpp(unittest.TestCase):
    def test_bench(self):
        output = json.dumps([bench(512, 0, 0, 2e9), bench(0, 128, 0, 4e9), bench(0, 64, 2048, 8e9)])
        names = [(record.cell, record.tokens, record.seconds) for record in parse_bench(output)]
        self.assertEqual(names, [("prefill-512", 512, 2), ("decode", 128, 4), ("decode-2048", 64, 8)])

    def test_bench_of_a_prompt_and_new_tokens_together_is_refused(self):
        with self.assertRaises(Failed):
            parse_bench(json.dumps([bench(512, 128, 0, 2e9)]))

    def test_batched_counts_new_tokens_alone(self):
        output = 'main: n_kv_max = 1024\n{"pp": 128, "tg": 64, "pl": 4, "t_pp": 9.0, "t_tg": 2.0, "t": 11.0}\n'
        self.assertEqual(parse_batched(output), [Record("batch-4", 256, 2.0)])

    def test_each_depth_is_a_start_of_its_own(self):
        names = ("prefill-512", "decode", "decode-2048", "decode-4096", "batch-4", "batch-8")
        made = [[c.name for c in group] for group in groups([cell(name, 128) for name in names])]
        self.assertEqual(made, [["prefill-512", "decode"], ["decode-2048"], ["decode-4096"], ["batch-4", "batch-8"]])


class Plimsoll(unittest.TestCase):
    def test_batches_are_a_start_of_their_own_without_a_pace(self):
        class Recorder:
            threads, commands = 2, []

            def run(self, command, log):
                self.commands.append(command)
                names = command[command.index("--cells") + 1].split(",")
                values = [{"cell": name, "tokens": cell(name, 128).counted, "seconds": 1} for name in names]
                lines = values + [{"cell": "load"}, {"cell": "memory"}]
                return Finished("\n".join(map(json.dumps, lines)), len(self.commands))

        recorder, engine = Recorder(), plimsoll.Plimsoll(None)
        cells = [cell(name, 128) for name in ("batch-4", "decode", "prefill-512", "batch-8")]
        run = engine.run("model", engine.weights[0], cells, {}, recorder, os.devnull)
        self.assertEqual([record.cell for record in run.records], ["decode", "prefill-512", "batch-4", "batch-8"])
        self.assertEqual(run.peak_bytes, 2)
        paced, free = recorder.commands
        self.assertNotIn("--set", paced)
        self.assertEqual(free[free.index("--set") + 1], "native.step_ms=0")


    def test_a_batch_counts_while_all_of_it_decodes(self):
        record = Record("batch-4", 128, 9.0, {"all_decoding_per_second": 64, "whole_seconds": 10})
        self.assertEqual(plimsoll.all_decoding(record).speed, 64)
        self.assertEqual(plimsoll.all_decoding(Record("decode", 128, 2.0)).seconds, 2)
        with self.assertRaises(Failed):
            checked([plimsoll.all_decoding(Record("batch-4", 256, 9.0, {"all_decoding_per_second": 0}))], [cell("batch-4", 128)])


class Processes(unittest.TestCase):
    def pinned(self, timeout):
        return Pinned(1, (min(os.sched_getaffinity(0)),), LEVELS["native"], "", timeout)

    def test_output_and_memory(self):
        done = self.pinned(60).run(["echo", "8 tokens"], os.devnull)
        self.assertEqual(done.output, "8 tokens\n")
        self.assertGreater(done.peak_bytes, 1 << 16)

    def test_one_that_fails_and_one_that_hangs(self):
        for command, timeout in (("false",), 60), (("sleep", "60"), 1):
            with self.assertRaises(Failed, msg=command):
                self.pinned(timeout).run(command, os.devnull)


class Checked(unittest.TestCase):
    cells = [cell("decode", 128)]

    def test_complete(self):
        records = [Record("decode", 128, 1.0)]
        self.assertEqual(checked(records, self.cells), records)

    def test_no_tokens_wrong_counts_and_impossible_times_are_errors(self):
        for records in (
            [],
            [Record("decode", 0, 1.0)],
            [Record("decode", 127, 1.0)],
            [Record("decode", 128, 0.0)],
            [Record("decode", 128, -2.6)],
            [Record("decode", 128, 1.0), Record("prefill-512", 512, 1.0)],
        ):
            with self.assertRaises(Failed, msg=str(records)):
                checked(records, self.cells)
