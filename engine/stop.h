/* stop - when enough is drawn: rules over candidates that are taken in candidate order.
 *
 * Candidate m is taken when it and all before it are decided: drawn and, with scoring, scored or given up. Who finishes
 * first is never seen here, so where drawing ends depends on the candidates alone. Let kept(m) be those whom
 * fc_rank_keep keeps of the distinct ones among 0..m-1 (keep, tags and keys as in the answer), kept(0) nobody.
 *
 *   stable:R    R >= 1: kept(m) = kept(m-1) = ... = kept(m-R), m > R.
 *   margin:X    X > 0: the best distinct key stands X or more above the second, both finite. Diversity plays no part.
 *   Several     any of them. n_used is the least m at which one holds: in the first wave as in any other.
 *   token_budget
 *               n_used is at most the number of first candidates that have drawn no more ids than that together: end
 *               tokens, duplicates and attempts that were drawn again (constraint reject) count. Submit refuses a
 *               budget that one candidate can exceed.
 *   n, n_max    candidates 0..n-1 are the first wave. When all of the waves so far are taken and nothing has ended it,
 *               the next n begin, up to n_max. What a wave has drawn beyond n_used is spent, and not in the answer; how
 *               much that is when the end becomes known is the one thing that timing may change.
 *   deadline_ms the one rule that looks at a clock: at the first step behind it, n_used is the number of candidates
 *               taken, the longest prefix that is complete; FC_ERR_TIMEOUT when that is 0. Every prefix is a right
 *               answer.
 *
 * hopeless:B ends no drawing: it spares the rest of a candidate's scoring. Log-likelihood alone.
 *   bound       Let S_t be the sum of the first t log-probs of L, added one by one in double. Each is at most 0, so
 *               S_t + lp <= S_t exactly, and rounding to nearest keeps order: the computed sums never rise, S_L <= S_t.
 *               The score is S_L, or S_L / L for the mean: L > 0 is known before the first log-prob is, and dividing by
 *               it keeps order, so the score is at most S_t, or S_t / L (a mean over t ids bounds nothing). The key is
 *               (1-b) * score + b * logprob with 1-b >= 0 and logprob known: it keeps order too. So the key of
 *               fc_stop_bound(S_t) is at least the final key, bit for bit.
 *   floor       fc_stop_floor after m candidates: the key of the keep-th kept; with keep 1, of the second best, so that
 *               the margin stays what it is; -INFINITY while there are not so many. It never falls as m grows: with
 *               diversity off the best `keep` only improve; with parent the best of every parent only improve, and a
 *               new parent only adds one. Keywords are refused: a new best that shares a keyword with each of two kept
 *               ones removes both, and lets in whom they had kept out or who stood below them.
 *   proof       If bound < floor(m), m <= i, then key(i) <= bound < floor(m) <= floor(i): keep candidates of smaller
 *               index (with parent: of different parents, so if i's own parent is among them, a better one of it) stand
 *               above i, now and for ever. i is never kept, nor second best, and keeps out nobody. So kept set, margin
 *               and n_used are those that they are without hopeless.
 *   timing      Whether i is given up while it is scored depends on how far m was then. What the answer says must not:
 *               when i is taken, it is given up if its least bound is below floor(i), even if it is scored by then.
 *               Given up earlier, it is given up now: bound < floor(m) <= floor(i).
 *   price       A candidate waits for all before it to be decided until it can be found hopeless; those that are scored
 *               in one pass spare nothing. Fed in pieces of B ids, a long candidate takes L/B passes. A score that was
 *               computed may be left out.
 *
 * fc_stop_take costs O(log m) comparisons and a memmove; where the candidate stands above the last kept, one walk down
 * to that: O(keep) with diversity off. Nothing is allocated after open.
 */
#ifndef FC_ENGINE_STOP_H
#define FC_ENGINE_STOP_H

#include "engine/base/str.h"
#include "engine/rank.h"

/* Zeroed: no rule. */
typedef struct {
    int stable;    /* R */
    double margin; /* X */
    int hopeless;  /* B */
} fc_stop_rules;

/* "stable:R,margin:X,hopeless:B", each at most once, in any order; NULL and "" are no rule. Errors name the piece. */
fc_status fc_stop_parse(const char *text, fc_stop_rules *out);
fc_status fc_stop_format(const fc_stop_rules *r, fc_str *out); /* appends what parses to the same rules */

typedef struct {
    fc_stop_rules rules;
    int keep, max;        /* kept of at most max candidates */
    int n_tags;           /* of fc_rank_item */
    int64_t token_budget; /* 0: none */
} fc_stop_options;

typedef struct {
    fc_rank_item item; /* index: m */
    bool repeats;      /* one before it is the same candidate: it is not ranked again */
    double bound;      /* key of the least fc_stop_bound that was computed; INFINITY: none */
    int64_t ids;       /* drawn */
} fc_stop_candidate;

typedef struct {
    fc_stop_options o;
    int m;              /* candidates taken */
    bool fixed;         /* drawing has ended: the answer is that of candidates 0..m-1 */
    int changed;        /* the least c with kept(c) = kept(m) */
    int64_t ids;        /* drawn by those taken */
    fc_rank_item *item; /* [max] distinct ones, best first */
    int n, *kept, *was; /* kept [n_kept] places in item; scratch */
    int n_kept;
    fc_rank_marks marks;
} fc_stop;

/* In the caller's arena, which ends it. */
fc_status fc_stop_open(fc_arena *a, const fc_stop_options *o, fc_stop *out);
/* Takes candidate m, unless its ids exceed the budget. True: it is given up, and has no score, whatever its key was.
 * Not to be called when fixed. */
bool fc_stop_take(fc_stop *s, const fc_stop_candidate *c);

/* Upper bound of a log-likelihood of n_ids ids from the sum of the first ones: their order must be that of the ids. */
double fc_stop_bound(double sum, int n_ids, bool mean);
double fc_stop_floor(const fc_stop *s);
/* A candidate whose key is at most bound, and whose index is m or more, may be given up. */
bool fc_stop_hopeless(const fc_stop *s, double bound);

#endif
