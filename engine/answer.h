/* answer - a finished job as the caller sees it: who is kept (rank.h), confidence, accounting.
 *
 * It covers candidates 0 .. n_used-1 as if no other had been drawn: votes, shares and what separate runs would have
 * cost are theirs alone; what was computed is all that the job computed.
 */
#ifndef FC_ENGINE_ANSWER_H
#define FC_ENGINE_ANSWER_H

#include "engine/job.h"

/* Builds the result in the job's arena. load_ms: the engine's. Each candidate below n_used is finished, and scored. */
fc_status fc_answer_make(fc_job *j, double load_ms, const fc_result **out);

#endif
