"""Triples of a user's time: the last two clusters, and the next one that the user had not seen.

Ratings stand in order of time. The history is the two most recently rated different clusters, older first. A triple says
how the new cluster was liked at first sight: feedback is 1 for a rating of at least LIKED, else 0. Nothing in a triple
comes from later than its time; `split` is test for the last TEST_SHARE of all ratings, by time.
"""
from tables import DataError

LIKED = 4
TEST_SHARE = 0.2
TRIPLES = {"user": int, "time": int, "film": int, "first": int, "second": int, "next": int, "feedback": int, "split": str}


def split_time(ratings, share=TEST_SHARE):
    """First time of the test: at most SHARE of the ratings are at it or later."""
    if not 0 < share < 1:
        raise DataError(f"a test share of {share}; it lies between 0 and 1")
    times = sorted(r["time"] for r in ratings)
    if not times:
        raise DataError("no ratings to split")
    at = times[len(times) - int(share * len(times)) - 1] # the last time of the train part: its ratings stay together
    later = [t for t in times if t > at]
    if not later:
        raise DataError(f"{len(times)} ratings cannot be split by time: too few are later than {at}")
    return later[0]


def triples(ratings, cluster_of, test_from):
    """RATINGS in order of time; in order of time, too."""
    recent, seen, rows = {}, {}, []
    for r in ratings:
        user, new = r["user"], cluster_of[r["film"]]
        last = recent.setdefault(user, [])
        if new not in seen.setdefault(user, set()):
            if len(last) == 2:
                rows.append({"user": user, "time": r["time"], "film": r["film"], "first": last[0], "second": last[1], "next": new,
                             "feedback": int(r["rating"] >= LIKED), "split": "test" if r["time"] >= test_from else "train"})
            seen[user].add(new)
        if new in last:
            last.remove(new)
        last.append(new)
        del last[:-2]
    return rows


def histories(ratings, cluster_of, before):
    """User -> set of clusters rated before a time."""
    seen = {}
    for r in ratings:
        if r["time"] < before:
            seen.setdefault(r["user"], set()).add(cluster_of[r["film"]])
    return seen
