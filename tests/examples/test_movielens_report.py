"""The tables of examples/movielens/README.md say what result.json, bulk.json and items.json say."""
import json
import os
import unittest

from util_movielens import EXAMPLE

import report
from tables import DataError


def e(value, low=0.1, high=0.9):
    return {"value": value, "low": low, "high": high, "count": 3}


class Report(unittest.TestCase):
    maxDiff = None

    def test_the_readme_says_what_the_results_say(self):
        with open(os.path.join(EXAMPLE, "README.md")) as f:
            text = f.read()
        sections = [m[2] for m in report.SECTION.finditer(text)]
        self.assertTrue(sections)
        self.assertEqual(text, report.remade(text, *report.results()))

    def test_a_section_is_made_of_the_result_and_nothing_else_changes(self):
        text = "a\n<!-- items: made by `report.py --write` -->\nold\n<!-- end of items -->\nb\n"
        measured = {top: {k: e(0.5) for k in ("factorisation", "popularity", "chance")} for top in ("1", "5", "10")}
        new = report.remade(text, {}, measured)
        self.assertEqual(new.splitlines()[0], "a")
        self.assertEqual(new.splitlines()[-1], "b")
        self.assertIn("| 1 | 0.500 (0.100-0.900) | 0.500 (0.100-0.900) | 0.500 (0.100-0.900) |", new)
        self.assertNotIn("old", new)
        self.assertEqual(report.remade(new, {}, measured), new)

    def test_a_section_without_a_table_is_an_error(self):
        with self.assertRaisesRegex(DataError, "section films; tables are data, order, curve, policies"):
            report.remade("<!-- films: made by `report.py --write` -->\n<!-- end of films -->\n", {}, {})

    def test_what_could_not_be_measured_is_a_dash(self):
        self.assertEqual(report.shown(None), "-")

    def test_an_interval_below_nothing_is_read_without_two_dashes(self):
        self.assertEqual(report.shown(e(-0.2, -0.3, -0.1)), "-0.200 (-0.300 to -0.100)")

    def test_every_plot_is_shown_and_there(self):
        with open(os.path.join(EXAMPLE, "README.md")) as f:
            text = f.read()
        there = sorted(os.listdir(os.path.join(EXAMPLE, "plots")))
        self.assertTrue(there)
        for name in there:
            self.assertIn(f"](plots/{name})", text)


if __name__ == "__main__":
    unittest.main()
