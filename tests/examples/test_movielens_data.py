"""The data of examples/movielens: clusters, triples, labels, files. Ratings are made here; no package is needed."""
import os
import random
import subprocess
import sys
import tempfile
import unittest
from collections import Counter

from util_movielens import EXAMPLE, SMALL, films, ratings

import clusters
import labels
import triples
from tables import DataError, read_films, read_names, read_ratings, write_table

FILMS = {r["film"]: dict(r, genres=r["genres"].split("|")) for r in films()}


def rated(*rows):
    return [dict(zip(("user", "film", "rating", "time"), r)) for r in rows]


def triple(first, second, new, feedback=1, split="train"):
    return {"user": 1, "time": 1, "first": first, "second": second, "next": new, "feedback": feedback, "split": split}


class Clusters(unittest.TestCase):
    def test_every_cluster_has_the_least_traffic_and_none_is_lost(self):
        built, of = clusters.build(ratings(), FILMS, least=60)
        self.assertGreater(len(built), 3)
        self.assertEqual(sum(c.traffic for _, c in built), len(ratings()))
        count = Counter(of[r["film"]] for r in ratings())
        for i, (_, c) in enumerate(built):
            self.assertEqual(count[i], c.traffic)
            self.assertGreaterEqual(c.traffic, 60)

    def test_names_are_unique_sorted_and_of_keywords(self):
        names = [n for n, _ in clusters.build(ratings(), FILMS, least=40)[0]]
        self.assertEqual(names, sorted(set(names)))
        words = {"Comedy", "Drama", "Horror", "War", "Western", "classic", "retro", "nineties", "new"}
        self.assertLessEqual({w for n in names for w in n.replace(",", "").split()}, words)

    def test_the_order_of_the_input_changes_nothing(self):
        mixed = ratings()
        random.Random(3).shuffle(mixed)
        other = dict(reversed(FILMS.items()))
        a, b = clusters.build(ratings(), FILMS, least=60), clusters.build(mixed, other, least=60)
        self.assertEqual([(n, c.cells) for n, c in a[0]], [(n, c.cells) for n, c in b[0]])
        self.assertEqual(a[1], b[1])

    def test_eras_begin_at_their_first_year(self):
        years = (0, 1969, 1970, 1989, 1990, 1995, 1996, 1998)
        self.assertEqual([clusters.era(y) for y in years], [0, 0, 1, 1, 2, 2, 3, 3])

    def test_the_small_one_joins_its_first_genre(self):
        cells = {(("Drama",), 2): 50, (("Drama", "War"), 2): 5, (("War",), 2): 50}
        merged = clusters.named(clusters.merge(cells, 20))
        self.assertEqual([(n, c.traffic) for n, c in merged], [("Drama, nineties", 55), ("War, nineties", 50)])

    def test_equal_names_get_another_genre(self):
        a = clusters.Cluster({(("Drama", "War"), 1): 9})
        b = clusters.Cluster({(("Drama", "War"), 1): 7, (("Drama", "Horror"), 1): 1})
        self.assertEqual([n for n, _ in clusters.named([a, b])], ["Drama War Horror, retro", "Drama War, retro"])

    def test_too_few_ratings_and_unknown_films_are_said(self):
        with self.assertRaisesRegex(DataError, "900 ratings are too few for one cluster of 901"):
            clusters.build(ratings(), FILMS, least=901)
        with self.assertRaisesRegex(DataError, "film 99 is rated by user 3"):
            clusters.build(rated((3, 99, 5, 1)), FILMS)


class Triples(unittest.TestCase):
    OF = {f: f for f in range(10)}  # each film is a cluster

    def made(self, films_in_order, ratings_given=None):
        given = ratings_given or [5] * len(films_in_order)
        rows = rated(*((1, f, s, t) for t, (f, s) in enumerate(zip(films_in_order, given))))
        rows = triples.triples(rows, self.OF, 10**9)
        return [(r["first"], r["second"], r["next"]) for r in rows]

    def test_the_last_two_different_clusters_and_the_next_new_one(self):
        self.assertEqual(self.made([1, 2, 3, 4]), [(1, 2, 3), (2, 3, 4)])

    def test_a_cluster_seen_again_moves_to_the_end_and_makes_no_triple(self):
        self.assertEqual(self.made([1, 2, 1, 1, 3]), [(2, 1, 3)])

    def test_two_clusters_come_before_a_triple(self):
        self.assertEqual(self.made([1, 1, 1, 2]), [])

    def test_feedback_is_that_of_the_new_cluster_at_first_sight(self):
        rows = rated((1, 1, 5, 1), (1, 2, 5, 2), (1, 3, 3, 3), (1, 3, 5, 4), (1, 4, 4, 5))
        rows = triples.triples(rows, self.OF, 5)
        self.assertEqual([(r["next"], r["feedback"], r["split"]) for r in rows], [(3, 0, "train"), (4, 1, "test")])

    def test_users_do_not_see_one_another(self):
        rows = triples.triples(rated((1, 1, 5, 1), (2, 4, 5, 2), (1, 2, 5, 3), (2, 5, 5, 4), (1, 3, 5, 5)), self.OF, 9)
        self.assertEqual([(r["user"], r["first"], r["second"], r["next"]) for r in rows], [(1, 1, 2, 3)])

    def test_nothing_of_the_future_is_in_a_triple(self):
        """Triples up to a time are the same, whatever comes later."""
        rows = sorted(ratings(), key=lambda r: (r["time"], r["user"], r["film"]))
        of = {f: f % 7 for f in range(1, 41)}
        cut = rows[len(rows) // 2]["time"]
        early = [r for r in rows if r["time"] < cut]
        whole = [r for r in triples.triples(rows, of, cut) if r["time"] < cut]
        self.assertEqual(triples.triples(early, of, cut), whole)
        self.assertGreater(len(whole), 20)

    def test_the_test_part_is_later_and_at_most_its_share(self):
        rows = ratings()
        at = triples.split_time(rows, 0.2)
        late = [r for r in rows if r["time"] >= at]
        self.assertLessEqual(len(late), 0.2 * len(rows))
        self.assertGreater(len(late), 0.1 * len(rows))
        with self.assertRaisesRegex(DataError, "cannot be split by time"):
            triples.split_time(rated((1, 1, 5, 7), (2, 1, 5, 7)))


class Labels(unittest.TestCase):
    def test_each_label_has_at_most_so_many_examples_and_liked_ones_alone(self):
        rows = [triple(1, 2, 3, feedback=f) for f in (0, 0, 1, 1)]
        rows += [triple(1, 2, 4, feedback=0), triple(1, 2, 5), triple(1, 2, 6, split="test")]
        chosen = labels.novelty_set(rows, per_label=1)
        self.assertEqual(Counter(r["next"] for r in chosen), {3: 1, 5: 1})
        self.assertEqual([r["feedback"] for r in chosen], [1, 1])
        self.assertEqual(Counter(r["next"] for r in labels.novelty_set(rows, per_label=3)), {3: 2, 5: 1})
        self.assertEqual(chosen, labels.novelty_set(rows, per_label=1))

    def test_every_example_stands_once_behind_a_history_of_its_second_cluster(self):
        rows = [dict(triple(f, s, n), retrieved=9) for s in (1, 2) for f in range(3, 7) for n in range(3, 9) if n != f]
        for seed in range(5):
            groups = labels.novelty_groups(rows, together=4, seed=seed)
            for first, second, _, nexts in groups:
                self.assertTrue(0 < len(nexts) <= 4)
                self.assertNotIn(first, nexts)
                self.assertIn((first, second), {(r["first"], r["second"]) for r in rows})
            self.assertEqual(Counter((s, n) for _, s, _, nexts in groups for n in nexts), Counter((r["second"], r["next"]) for r in rows))
        self.assertNotEqual(groups, labels.novelty_groups(rows, together=4, seed=9))

    def test_feedback_is_drawn_towards_the_wider_mean(self):
        rows = [triple(1, 2, 3, 1), triple(1, 2, 3, 1), triple(0, 2, 3, 0), triple(0, 1, 4, 0)]
        f = labels.Feedback(rows, pull=2.0)
        wide = 2 / 4
        of_next = (2 + 2 * wide) / (3 + 2)
        of_pair = (2 + 2 * of_next) / (3 + 2)
        self.assertAlmostEqual(f.mean(1, 2, 3), (2 + 2 * of_pair) / (2 + 2))
        self.assertAlmostEqual(f.mean(7, 8, 9), wide)

    def test_labels_are_filtered_scaled_and_rounded(self):
        rows = [triple(1, 2, n, int(k < n)) for n in range(3, 8) for k in range(8)] + [triple(1, 2, 9)]
        made, (low, high) = labels.alignment_set(rows, least=8, step=0.1)
        self.assertEqual([k[2] for k, _ in made], [3, 4, 5, 6, 7])  # 9 has one feedback
        self.assertEqual([made[0][1], made[-1][1]], [0.0, 1.0])
        for _, label in made:
            self.assertAlmostEqual(label * 10, round(label * 10))
        self.assertEqual([l for _, l in made], sorted(l for _, l in made))
        self.assertLess(low, high)

    def test_groups_have_one_history_and_next_clusters_with_enough_feedback(self):
        rows = [triple(1, 2, n, int(k < n)) for n in range(3, 8) for k in range(6)] + [triple(8, 2, 9)]
        groups = labels.alignment_groups(rows, 2, 3)
        self.assertEqual(sorted((first, second) for first, second, _ in groups), [(1, 2), (8, 2)])
        scale, feedback = labels.alignment_set(rows)[1], labels.Feedback(rows)
        for first, second, nexts in groups:
            self.assertEqual(len({n for n, _ in nexts}), 3)
            for n, label in nexts:
                self.assertIn(n, range(3, 8))  # 9 has one feedback
                exact = (feedback.mean(first, second, n) - scale[0]) / (scale[1] - scale[0])
                self.assertEqual(label, labels.rounded(exact, labels.STEP))
        with self.assertRaisesRegex(DataError, "3 pairs with 3 next clusters are asked for, and 2 have so many"):
            labels.alignment_groups(rows, 3, 3)

    def test_the_test_part_teaches_nothing(self):
        rows = [triple(1, 2, n, int(k < n)) for n in range(3, 8) for k in range(8)]
        later = [triple(1, 2, n, 0, split="test") for n in range(3, 12) for _ in range(9)]
        self.assertEqual(labels.alignment_set(rows), labels.alignment_set(rows + later))
        self.assertEqual(labels.novelty_set(rows), labels.novelty_set(rows + later))
        self.assertEqual(labels.alignment_groups(rows, 1, 4), labels.alignment_groups(rows + later, 1, 4))
        self.assertEqual(labels.Successors(rows).counts, labels.Successors(rows + later).counts)

    def test_the_retrieved_line_does_not_give_a_triples_own_answer_away(self):
        s = labels.Successors([triple(1, 2, 3), triple(5, 2, 4), triple(6, 2, 4)])
        self.assertEqual(s.retrieved(1, 2), 3)
        self.assertEqual(s.retrieved(1, 2, without=3), 4)
        self.assertEqual(s.retrieved(8, 2), 4)
        self.assertEqual(s.retrieved(4, 9), 3)  # 4 is the most frequent, and in the pair
        self.assertEqual(s.ranked(2), [4, 3])

    def test_quantile_and_rounding(self):
        self.assertEqual([labels.quantile([3, 1, 2], q) for q in (0, 0.25, 0.5, 1)], [1, 1.5, 2, 3])
        self.assertEqual([labels.rounded(v, 0.05) for v in (-1, 0.026, 0.51, 0.99, 2)], [0, 0.05, 0.5, 1, 1])


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name, text=None):
        path = os.path.join(self.folder.name, name)
        if text is not None:
            with open(path, "w") as f:
                f.write(text)
        return path

    def test_errors_name_file_line_and_column(self):
        with self.assertRaisesRegex(DataError, "ratings.tsv, line 3: time is 'x', no int"):
            read_ratings(self.path("ratings.tsv", "user\tfilm\trating\ttime\n1\t1\t5\t1\n1\t2\t5\tx\n"))
        with self.assertRaisesRegex(DataError, "line 2: 2 columns in place of 4"):
            read_ratings(self.path("short.tsv", "user\tfilm\trating\ttime\n1\t1\n"))
        with self.assertRaisesRegex(DataError, "has no column genres; it has film, title, year"):
            read_films(self.path("films.tsv", "film\ttitle\tyear\n"))
        with self.assertRaisesRegex(DataError, "user 1 gave film 2 6"):
            read_ratings(self.path("six.tsv", "user\tfilm\trating\ttime\n1\t2\t6\t1\n"))
        with self.assertRaisesRegex(DataError, "cannot read .*none.tsv: No such file"):
            read_ratings(self.path("none.tsv"))
        self.path("taxonomy.tsv", "0\tDrama, new\tDrama, new\n1\tWar, new\tWar, new\n")
        self.assertEqual(read_names(self.folder.name), ["Drama, new", "War, new"])
        for text in ("0\tDrama, new\n2\tWar, new\n", "0\n", ""):
            self.path("taxonomy.tsv", text)
            with self.assertRaisesRegex(DataError, "taxonomy.tsv: lines are not id and name, with ids 0, 1, 2"):
                read_names(self.folder.name)

    def test_prepare_writes_the_same_twice_and_says_what_is_missing(self):
        write_table(self.path("films.tsv"), films()[0], films())
        big = ratings(users=60)
        write_table(self.path("ratings.tsv"), big[0], big)
        command = [sys.executable, os.path.join(EXAMPLE, "prepare.py"), "--folder", self.folder.name, *SMALL]

        def made():
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            texts = {}
            for name in sorted(os.listdir(self.folder.name)):
                with open(self.path(name)) as f:
                    texts[name] = f.read()
            return texts

        first = made()
        names = {"taxonomy.tsv", "triples.tsv", "novelty_set.tsv", "alignment_set.tsv", "recipe.json"}
        self.assertLessEqual(names, set(first))
        self.assertEqual(first, made())
        os.remove(self.path("films.tsv"))
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"^prepare: cannot read .*films.tsv: No such file or directory\n$")


if __name__ == "__main__":
    unittest.main()
