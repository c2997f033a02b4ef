"""Clusters of films of about equal traffic, each named by keywords.

A film's cell is its first two genres and its era. Cells with too few ratings are merged, the smallest first, into the
cluster that is most like it, until each has MIN_RATINGS. The traffic is that of all ratings, also of the time that is
held out later: how many there are, never whose or how good.
"""
from collections import Counter

from tables import DataError

MIN_RATINGS = 270
NAMED_SHARE = 0.2
ERAS = (("classic", 0), ("retro", 1970), ("nineties", 1990), ("new", 1996))  # name, first year


def era(year):
    return max(i for i, (_, first) in enumerate(ERAS) if year >= first)


def cell(film):
    return tuple(film["genres"][:2]), era(film["year"])


def _by_traffic(pairs):
    count = Counter()
    for word, traffic in pairs:
        count[word] += traffic
    return sorted(count, key=lambda word: (-count[word], word))


class Cluster:
    """Cells and their traffic."""

    def __init__(self, cells):
        self.cells = Counter(cells)

    @property
    def traffic(self):
        return self.cells.total()

    def genres(self):
        """All genres of the cells, the one with most traffic first; a tie goes by the alphabet."""
        return _by_traffic((g, traffic) for (genres, _), traffic in self.cells.items() for g in genres)

    def first_genres(self):
        return {genres[0] for genres, _ in self.cells}

    def eras(self):
        return sorted({e for _, e in self.cells})

    def words(self):
        """Genres and eras that a name should have: the first of each, and what is in a fifth of the traffic."""
        share = Counter()
        for (genres, e), traffic in self.cells.items():
            for word in (*genres, e):
                share[word] += traffic / self.traffic
        genres, eras = self.genres(), _by_traffic((e, traffic) for (_, e), traffic in self.cells.items())
        return (len([g for g in genres[:2] if share[g] >= NAMED_SHARE or g == genres[0]]),
                sorted(e for e in eras if share[e] >= NAMED_SHARE or e == eras[0]))

    def name(self, more=0):
        """With MORE genres than words() has."""
        n_genres, eras = self.words()
        return " ".join(self.genres()[:n_genres + more]) + ", " + " ".join(ERAS[e][0] for e in eras)


def likeness(a, b):
    """Smaller is more alike: another first genre, other eras, genres apart, then the smaller cluster."""
    ga, gb, ea, eb = set(a.genres()), set(b.genres()), a.eras(), b.eras()
    years_apart = abs(sum(ea) / len(ea) - sum(eb) / len(eb))
    return (not a.first_genres() & b.first_genres(), years_apart, len(ga ^ gb) / len(ga | gb), b.traffic,
            sorted(b.cells))


def merge(traffic, least=MIN_RATINGS):
    """Clusters of the cells in TRAFFIC (cell -> ratings), each of at least LEAST."""
    clusters = [Cluster({c: n}) for c, n in sorted(traffic.items())]
    if sum(traffic.values()) < least:
        raise DataError(f"{sum(traffic.values())} ratings are too few for one cluster of {least}")
    while True:
        small = min(clusters, key=lambda c: (c.traffic, sorted(c.cells)))
        if small.traffic >= least:
            return clusters
        clusters.remove(small)
        min(clusters, key=lambda c: likeness(small, c)).cells.update(small.cells)


def named(clusters):
    """(name, cluster) in order of the names; of two that would be called the same, the smaller gets more genres."""
    taken = {}
    for c in sorted(clusters, key=lambda c: (-c.traffic, sorted(c.cells))):
        names = [c.name(more) for more in range(len(c.genres()))]
        free = [n for n in names if n not in taken]
        if not free:
            raise DataError(f"{c.traffic} ratings of cells {sorted(c.cells)} have no name but {names[-1]!r}, which is taken")
        taken[free[0]] = c
    return sorted(taken.items(), key=lambda pair: pair[0])


def build(ratings, films, least=MIN_RATINGS):
    """The clusters, [(name, cluster)], and film -> index of its cluster."""
    traffic = Counter()
    for r in ratings:
        if r["film"] not in films:
            raise DataError(f"film {r['film']} is rated by user {r['user']} and not among the films")
        traffic[cell(films[r["film"]])] += 1
    clusters = named(merge(traffic, least))
    of_cell = {c: i for i, (_, cluster) in enumerate(clusters) for c in cluster.cells}
    return clusters, {f: of_cell[cell(row)] for f, row in films.items() if cell(row) in of_cell}
