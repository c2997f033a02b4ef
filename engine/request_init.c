/* request_init - the values that flags, recipes and programs start from, and the names of the scoring modes. */
#include "engine/base/status.h"
#include "engine/forkcast.h"

#include <string.h>

void fc_sampling_init(fc_sampling *s) {
    *s = (fc_sampling){
        .temperature = 1.0f,
        .top_p = 1.0f,
        .typical_p = 1.0f,
        .repetition_penalty = 1.0f,
        .max_tokens = 16,
    };
}

void fc_request_init(fc_request *r) {
    *r = (fc_request){.n = 1, .mode = FC_SCORE_LOGLIK_MEAN};
    fc_sampling_init(&r->sampling);
}

static const char *const modes[] = {
    [FC_SCORE_LOGLIK_MEAN] = "loglik-mean",
    [FC_SCORE_LOGLIK_SUM] = "loglik-sum",
    [FC_SCORE_REWARD] = "reward",
    [FC_SCORE_JUDGE] = "judge",
};
enum { N_MODES = sizeof modes / sizeof *modes };

const char *fc_score_mode_name(fc_score_mode m) { return (unsigned)m < N_MODES ? modes[m] : "?"; }

fc_status fc_score_mode_parse(const char *name, fc_score_mode *out) {
    for (int m = 0; m < N_MODES; m++)
        if (strcmp(name, modes[m]) == 0) {
            *out = (fc_score_mode)m;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "mode \"%.40s\"; it is loglik-mean, loglik-sum, reward or judge", name);
}
