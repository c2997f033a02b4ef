"""Measures of examples/movielens against values worked out by hand; an experiment on answers that are made here."""
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import unittest
from collections import Counter

from util_movielens import EXAMPLE, SMALL, films, ratings

import ask
import bulk
import confidence
import judge
import labels
import measures
from tables import DataError, write_table


class Measures(unittest.TestCase):
    def test_the_interval_of_equal_values_is_a_point(self):
        users = measures.Resampling([1, 1, 2], draws=20)
        self.assertEqual(measures.interval(users.means([1, 1, 2], [0.5, 0.5, 0.5])), (0.5, 0.5))

    def test_the_interval_draws_whole_groups(self):
        """Two groups, of 3 ones and of 1 zero: both of one are drawn or one of each, so the mean is 1, 0 or 3/4."""
        found = set()
        for seed in range(20):
            found.update(measures.Resampling([1, 2], draws=1, seed=seed).means([1, 1, 1, 2], [1, 1, 1, 0]))
        self.assertEqual(found, {0.0, 0.75, 1.0})
        self.assertIn(None, measures.Resampling([1, 2], draws=20).means([1], [1]))

    def test_a_statistic_of_drawn_rows_is_that_of_their_means(self):
        """Means by weight, statistics by repeating: the same draws, twice."""
        rng = random.Random(3)
        users = [rng.randrange(7) for _ in range(40)]
        values, resampling = [rng.random() for _ in users], measures.Resampling(range(7), draws=30)
        for a, b in zip(resampling.means(users, values), resampling.statistics(users, values, measures.mean)):
            self.assertAlmostEqual(a, b)
        changing = [[v * i for i in range(30)] for v in values]
        for i, (a, b) in enumerate(zip(resampling.means(users, changing), resampling.means(users, values))):
            self.assertAlmostEqual(a, i * b)

    def test_the_interval_has_about_the_width_of_the_normal_law(self):
        rng = random.Random(5)
        values = [float(rng.random() < 0.3) for _ in range(400)]
        value = measures.mean(values)
        low, high = measures.interval(measures.Resampling(range(400), draws=2000).means(range(400), values))
        half = 1.96 * math.sqrt(value * (1 - value) / 400)
        self.assertAlmostEqual(value - low, half, delta=0.15 * half)
        self.assertAlmostEqual(high - value, half, delta=0.15 * half)

    def test_the_area_under_the_curve_counts_pairs(self):
        self.assertEqual(measures.auc([1, 2, 3, 4], [0, 0, 1, 1]), 1.0)
        self.assertEqual(measures.auc([1, 2, 3, 4], [1, 1, 0, 0]), 0.0)
        self.assertEqual(measures.auc([1, 3, 2, 4], [0, 0, 1, 1]), 0.75)
        self.assertEqual(measures.auc([2, 2, 2], [0, 1, 0]), 0.5)
        self.assertIsNone(measures.auc([1, 2], [1, 1]))

    def test_reliability_has_bins_of_equal_count(self):
        curve = measures.reliability([0.1, 0.9, 0.2, 0.8], [0, 1, 1, 1], bins=2)
        self.assertEqual([(round(p, 6), h, n) for p, h, n in curve], [(0.15, 0.5, 2), (0.85, 1, 2)])
        self.assertAlmostEqual(measures.calibration_error(curve), (0.35 + 0.15) / 2)

    def test_the_best_of_n_is_the_first_of_equal_scores(self):
        draws = [("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.0)]
        self.assertEqual([measures.best_of(draws, n) for n in (1, 2, 3, 4)], ["a", "b", "b", "d"])
        with self.assertRaisesRegex(DataError, "the best of 5 of 4 draws"):
            measures.best_of(draws, 5)

    def test_the_law_of_the_best_of_n_is_that_over_all_draws(self):
        chance, score = [0.5, 0.3, 0.2], [1.0, 3.0, 2.0]
        for n in (1, 2, 3):
            by_hand = [0.0] * 3
            for draws in itertools.product(range(3), repeat=n):
                by_hand[max(draws, key=lambda c: score[c])] += math.prod(chance[c] for c in draws)
            for law, hand in zip(measures.best_of_law(chance, score, n), by_hand):
                self.assertAlmostEqual(law, hand)

    def test_the_law_of_the_best_of_equal_scores_is_that_of_one_draw(self):
        for law, chance in zip(measures.best_of_law([0.25, 0.75], [1.0, 1.0], 9), (0.25, 0.75)):
            self.assertAlmostEqual(law, chance)

    def test_the_stop_rule_waits_for_so_many_draws_without_a_better_one(self):
        draws = [("a", 1.0), ("a", 1.0), ("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 9.0)]
        self.assertEqual([measures.stable_after(draws, p) for p in (1, 2, 3, 9)], [2, 5, 6, 6])

    def test_nothing_has_no_mean(self):
        for f in (lambda: measures.mean([]), lambda: measures.interval([None]), lambda: measures.Resampling([]),
                  lambda: measures.reliability([1], [1])):
            self.assertRaises(DataError, f)


class Judge(unittest.TestCase):
    """A world of a made file of ratings, as prepare.py leaves it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.at = staticmethod(lambda name: os.path.join(cls.folder.name, name))
        write_table(cls.at("films.tsv"), films()[0], films())
        made = ratings(users=60)
        write_table(cls.at("ratings.tsv"), made[0], made)
        cls.program("prepare.py", *SMALL)
        cls.world = judge.World(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def program(cls, name, *args):
        done = subprocess.run([sys.executable, os.path.join(EXAMPLE, name), "--folder", cls.folder.name, *args],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_the_next_cluster_is_a_hit_new_and_later(self):
        for a in self.world.rows[-50:]:
            judged = self.world.judged(a, a["next"])
            self.assertEqual((judged["hit"], judged["later"], judged["new"]), (1, 1, 1))
            self.assertEqual(self.world.judged(a, a["first"])["new"], 0)
            self.assertEqual(self.world.judged(a, a["first"])["later"], 0)

    def test_feedback_of_a_pick_is_that_of_the_test_part_alone(self):
        a = next(r for r in self.world.rows if r["split"] == "test")
        test = [r["feedback"] for r in self.world.rows if r["split"] == "test" and r["next"] == a["next"]]
        if len(test) > 1:
            lowest, highest = min(test), max(test)
            self.assertTrue(lowest <= self.world.judged(a, a["next"])["feedback"] <= highest)
        known = self.world.known.count(a["next"]) + self.world.held_out.count(a["next"])
        self.assertEqual(known, sum(r["next"] == a["next"] for r in self.world.rows))

    def test_an_estimate_leaves_out_what_is_not_there(self):
        rows, users = [{"user": 1}, {"user": 1}, {"user": 2}], measures.Resampling([1, 2], draws=10)
        self.assertEqual(judge.estimate(rows, [0.5, None, 0.5], users), {"value": 0.5, "low": 0.5, "high": 0.5, "count": 2})
        self.assertIsNone(judge.estimate(rows, [None, None, None], users))

    def test_each_resampling_has_the_feedback_of_the_users_it_draws(self):
        """Against labels.Feedback of the drawn users' rows: the judge is made again, not the mean of its answers alone."""
        users = measures.Resampling((r["user"] for r in self.world.test), draws=4)
        redrawn, known = judge.Redrawn(self.world.test, users), set()
        for a in self.world.test[:20]:
            key = a["first"], a["second"], (a["next"] + 1) % len(self.world.names)
            for i, mean in enumerate(redrawn.mean(*key)):
                rows = [r for r in self.world.test for _ in range(users.times[r["user"]][i])]
                self.assertAlmostEqual(mean, labels.Feedback(rows, judge.PULL).mean(*key))
                known.add(round(mean, 6))
        self.assertGreater(len(known), 20)

    def test_a_difference_is_taken_in_each_resampling(self):
        """Picks that are the same differ by nothing, however wide the interval of each is."""
        answers = self.answers(12)
        picks = [a["next"] for a in answers]
        other = [a["first"] for a in answers]
        for field, d in judge.difference(self.world, answers, picks, picks).items():
            self.assertTrue(d is None or (d["value"], d["low"], d["high"]) == (0, 0, 0), field)
        d = judge.difference(self.world, answers, picks, other)
        self.assertEqual((d["hit"]["value"], d["hit"]["low"], d["hit"]["high"]), (1, 1, 1))
        alone = [judge.measured(self.world, answers, p)["feedback"]["value"] for p in (picks, other)]
        self.assertAlmostEqual(d["feedback"]["value"], alone[0] - alone[1], places=3)

    def test_the_table_has_the_most_frequent_histories_and_the_users(self):
        names, rows = self.world.names, [r for r in self.world.rows if r["split"] == "train"]
        count = Counter((r["first"], r["second"]) for r in rows)
        also = min(count, key=lambda p: (count[p], p))
        pairs = bulk.chosen(self.world.rows, 4, names, also)
        self.assertEqual((pairs[0], len(pairs)), (also, 4))
        self.assertEqual([count[p] for p in pairs[1:]], sorted(count.values(), reverse=True)[:3])
        whole = bulk.chosen(self.world.rows, 0, names, also)
        self.assertEqual(len(set(whole)), len(names) * (len(names) - 1))
        self.assertEqual(len(bulk.chosen(rows, 10**6, names, also)), len(count))

    def test_a_run_goes_on_where_it_ended_if_nothing_is_different(self):
        part, about = self.at("some.part"), self.at("some.settings")
        self.assertEqual(ask.kept(part, about, "a"), [])
        for path, text in ((part, '{"number": 0}\n{"number": 1}\n{"num'), (about, "a")):
            with open(path, "w") as f:
                f.write(text)
        self.assertEqual(ask.kept(part, about, "a"), ['{"number": 0}\n', '{"number": 1}\n'])
        self.assertEqual(ask.kept(part, about, "b"), [])

    def test_the_last_two_different_clusters(self):
        rows = [{"film": f} for f in (1, 2, 3, 3, 2, 2)]
        self.assertEqual(judge.last_clusters(rows, {1: 7, 2: 8, 3: 9}), [9, 8])
        self.assertEqual(judge.last_clusters(rows[:1], {1: 7}), [7])

    def test_what_the_order_within_a_second_leaves_as_it_is(self):
        world = judge.World.__new__(judge.World)
        a = {"user": 1, "time": 9, "first": 1, "second": 2, "next": 3}
        for kind, times in (("all", (5, 6, 7, 9)), ("alone", (5, 6, 6, 9)), ("alone", (5, 5, 6, 9)), ("history", (5, 6, 7, 9, 9)),
                            ("nothing", (5, 6, 9, 9))):
            world.ratings = {1: [(t, c, True) for t, c in zip(times, (0, 1, 2, 3, 4))]}
            self.assertEqual(world.untied(a), kind, times)

    def test_no_policy_picks_a_cluster_of_the_history(self):
        answers = self.answers(20)
        for name, pick in judge.policies(self.world, 1).items():
            for a in answers:
                self.assertNotIn(pick(a), (a["first"], a["second"]), name)

    def answers(self, n, clusters=None):
        """Answers as ask.py keeps them, of a scorer that knows the train part well."""
        rng, names = random.Random(2), len(self.world.names)
        made = []
        for number, row in enumerate(rng.sample([r for r in self.world.rows if r["split"] == "test"], n)):
            logprob = [-math.log(names)] * names
            score = [self.world.known.mean(row["first"], row["second"], c) for c in range(names)]
            draws = rng.choices(range(names), k=16)
            scores = [score[c] for c in draws]
            drawn, ends = list(zip(draws, scores)), measures.stable_after(list(zip(draws, scores)), 4)
            made.append({**row, "number": number, "retrieved": 0, "draws": draws, "draw_scores": scores, "draws_retrieved": draws,
                         "draw_scores_retrieved": scores, "stopped": {"stable": 4, "n": ends, "pick": measures.best_of(drawn, ends)},
                         "logprob": logprob, "score": score, "logprob_retrieved": logprob, "free": [0, None],
                         "confidence": {"logprob": -1.0, "entropy": rng.random(), "vote_share": 0.5,
                                        "distinct": len(set(draws)), "margin": None, "valid_mass": 0.5}})
        return made

    def fit(self, n):
        """Answers to triples of the train part: log-probs twice as far apart as they should be."""
        names, rows = len(self.world.names), [r for r in self.world.rows if r["split"] == "train"][:n]
        law = [2 * math.log((1 + c) / (names * (names + 1) / 2)) for c in range(names)]
        return [{**r, "logprob": law, "score": [0.5] * names} for r in rows]

    def test_the_temperature_is_that_of_the_least_loss(self):
        """Next names drawn by a law whose log-probs are said twice as large: 2 is found again."""
        names, rng = len(self.world.names), random.Random(4)
        rows = self.fit(1) * 4000
        rows = [{**r, "next": c} for r, c in zip(rows, rng.choices(range(names), [1 + c for c in range(names)], k=len(rows)))]
        self.assertAlmostEqual(confidence.temperatures((0.2, 0.9), rows)[0], 2.0, delta=0.11)

    def test_an_end_that_the_draws_do_not_give_is_an_error(self):
        answers = self.answers(5)
        self.assertEqual(confidence.asked_to_stop(answers)["same"], 5)
        answers[3]["stopped"]["n"] += 1
        with self.assertRaisesRegex(DataError, r"triple 3: forkcast's stable:4 ended after \d+ draws with name \d+; of the same draws"):
            confidence.asked_to_stop(answers)

    def test_the_experiment_is_the_same_twice_and_adds_up(self):
        answers = self.answers(30)
        with open(self.at("answers.jsonl"), "w") as f:
            f.writelines(json.dumps(a) + "\n" for a in answers + self.fit(20))
        texts = []
        for _ in range(2):
            self.program("experiment.py", "--out", self.at("result.json"), "--bootstrap", "50")
            with open(self.at("result.json")) as f:
                texts.append(f.read())
        self.assertEqual(*texts)
        result = json.loads(texts[0])
        self.assertEqual([b["n"] for b in result["best_of_n"]], [1, 2, 4, 8, 16])
        scores = [b["score"]["value"] for b in result["best_of_n"]]
        self.assertEqual(scores, sorted(scores))
        recalls = [b["recall"]["value"] for b in result["best_of_n"]]
        self.assertEqual(recalls, sorted(recalls))
        self.assertEqual(result["constraint"]["exact_match"]["value"], 0.5)
        best = result["policies"]["best possible"]["feedback"]["value"]
        for name, p in result["policies"].items():
            self.assertLessEqual(p["feedback"]["value"], best, name)
            self.assertTrue(p["feedback"]["low"] <= p["feedback"]["value"] <= p["feedback"]["high"], name)
        first, *more = result["best_of_n"]
        self.assertIsNone(first["gain"])
        for b in more:
            self.assertAlmostEqual(b["gain"]["value"], b["feedback"]["value"] - first["feedback"]["value"], places=3)
            first = b
        for name, d in result["differences"].items():
            other = result["policies"].get(name) or result["best_of_n"][-2]
            self.assertAlmostEqual(d["feedback"]["value"], first["feedback"]["value"] - other["feedback"]["value"], places=3)
        for c in result["confidence"]["calibration"].values():
            self.assertTrue(0 < c["calibrated"]["low"] < c["calibrated"]["value"] < c["calibrated"]["high"])
        self.assertEqual(result["retrieved"]["difference"]["drawn_feedback"]["value"], 0)
        self.assertAlmostEqual(result["retrieved"]["with"]["drawn_feedback"]["value"], first["feedback"]["value"], places=4)
        for rule in result["confidence"]["adaptive"]:
            used = [measures.stable_after(judge.drawn(a), rule["patience"]) for a in answers]
            n, whole = sum(used) / len(used), sum(used) // len(used)
            few, many = (judge.mean(self.world.held_out.mean(a["first"], a["second"], measures.best_of(judge.drawn(a), m))
                                    for a in answers) for m in (whole, min(whole + 1, 16)))
            self.assertAlmostEqual(rule["feedback_fixed"]["value"], few + (n - whole) * (many - few), places=3)
            self.assertAlmostEqual(rule["difference"]["value"], rule["feedback"]["value"] - rule["feedback_fixed"]["value"], places=3)
        shares = [o["share"] for o in result["order"].values()]
        self.assertEqual((shares[0], shares), (1, sorted(shares, reverse=True)))
        self.assertAlmostEqual(result["best_of_n"][0]["feedback"]["value"], judge.mean(
            self.world.held_out.mean(a["first"], a["second"], a["draws"][0]) for a in answers), places=4)

    def test_without_answers_it_says_who_makes_them(self):
        with tempfile.TemporaryDirectory() as empty:
            for name in os.listdir(self.folder.name):
                if name.endswith(".tsv"):
                    os.link(self.at(name), os.path.join(empty, name))
            done = subprocess.run([sys.executable, os.path.join(EXAMPLE, "experiment.py"), "--folder", empty],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            said = "^experiment: cannot read .*answers.jsonl: No such file or directory; ask.py writes it\n$"
            self.assertRegex(done.stderr, said)


if __name__ == "__main__":
    unittest.main()
