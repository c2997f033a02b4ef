/* stop_job - the stop rules of one request (stop.h), fed from its job: what the scheduler asks after each step.
 *
 *   stop_when, n_max, token_budget and deadline_ms are read by fc_job_open; a job without any of them has no
 *   fc_stop_job, every question below is answered with no, and its n_used is its n.
 *
 * In the order of a step:
 *   1. landing, log-likelihoods: after each log-prob that is added to a path's sum, fc_stop_job_hopeless. True: nothing
 *      more is fed or read for it; it is scored, as NAN.
 *   2. sweep, waiting and running jobs: fc_stop_job_over. True: the job ends now as one that is complete, whatever
 *      still draws or scores of it, or it has failed as too late. The answer covers n_used candidates.
 *   3. sweep, running jobs that are not over: fc_stop_job_wants_wave, then fc_job_next_wave and fc_drawing_begin. A job
 *      that wants a wave is not complete.
 */
#ifndef FC_ENGINE_STOP_JOB_H
#define FC_ENGINE_STOP_JOB_H

#include "engine/distinct.h"
#include "engine/stop.h"

typedef struct fc_stop_job {
    fc_stop stop;
    fc_distinct seen; /* of the candidates taken */
    int *head;        /* [n_max] 1 + path of the group of a finished candidate; 0: it still draws */
    int n_seen;       /* of job's finished, whose members are in head */
} fc_stop_job;

/* Checks the request's fields; errors name them. j->stop is in the job's arena. */
fc_status fc_stop_job_open(fc_job *j, const fc_request *r);

/* Takes the candidates that are decided now. True when drawing has ended, or the deadline has passed: n_used is set,
 * or, where the deadline found none complete, the job has failed with FC_ERR_TIMEOUT. */
bool fc_stop_job_over(fc_job *j, uint64_t now_ns);
bool fc_stop_job_late(const fc_job *j, uint64_t now_ns); /* its deadline has passed */
/* All candidates so far are taken, and more may be drawn. */
bool fc_stop_job_wants_wave(const fc_job *j);
/* The path's sum holds n_score_done log-probs, in the order of its ids: true when it can be given up. */
bool fc_stop_job_hopeless(fc_job *j, int path);

/* What ranks a path: its key, and its tags under the job's diversity. */
fc_rank_item fc_stop_job_item(const fc_job *j, int path);

#endif
