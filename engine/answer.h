/* answer - a finished job as the caller sees it: ranking, confidence, accounting.
 *
 * Ranking: by score, highest first; without scoring by log-prob. NaN and -inf come last. Ties go to the smaller candidate
 * index. Distinct candidates only.
 */
#ifndef FC_ENGINE_ANSWER_H
#define FC_ENGINE_ANSWER_H

#include "engine/job.h"

/* Builds the result in the job's arena. load_ms: the engine's. */
fc_status fc_answer_make(fc_job *j, double load_ms, const fc_result **out);

#endif
