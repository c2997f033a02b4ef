/* request_init - the values that flags, recipes and programs start from, and the names of modes and policies. */
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
        .skip_special = true,
    };
}

void fc_request_init(fc_request *r) {
    *r = (fc_request){.n = 1, .mode = FC_SCORE_LOGLIK_MEAN, .reject_budget = 4};
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

static const char *const draws[] = {[FC_DRAW_IID] = "iid",
                                    [FC_DRAW_SBS] = "sbs",
                                    [FC_DRAW_BEAM] = "beam",
                                    [FC_DRAW_TOPK] = "topk",
                                    [FC_DRAW_EXACT] = "exact"};
enum { N_DRAWS = sizeof draws / sizeof *draws };

const char *fc_draw_name(fc_draw_mode d) { return (unsigned)d < N_DRAWS ? draws[d] : "?"; }

fc_status fc_draw_parse(const char *name, fc_draw_mode *out) {
    for (int d = 0; d < N_DRAWS; d++)
        if (strcmp(name, draws[d]) == 0) {
            *out = (fc_draw_mode)d;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "draw \"%.40s\"; it is iid, sbs, beam, topk or exact", name);
}

static const char *const constraints[] = {
    [FC_CONSTRAINT_OFF] = "off",
    [FC_CONSTRAINT_MASK] = "mask",
    [FC_CONSTRAINT_REJECT] = "reject",
};
enum { N_CONSTRAINTS = sizeof constraints / sizeof *constraints };

const char *fc_constraint_name(fc_constraint c) { return (unsigned)c < N_CONSTRAINTS ? constraints[c] : "?"; }

fc_status fc_constraint_parse(const char *name, fc_constraint *out) {
    for (int c = 0; c < N_CONSTRAINTS; c++)
        if (strcmp(name, constraints[c]) == 0) {
            *out = (fc_constraint)c;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "constraint \"%.40s\"; it is off, mask or reject", name);
}

static const char *const diversities[] = {
    [FC_DIVERSITY_OFF] = "off",
    [FC_DIVERSITY_PARENT] = "parent",
    [FC_DIVERSITY_KEYWORDS] = "keywords",
};
enum { N_DIVERSITIES = sizeof diversities / sizeof *diversities };

const char *fc_diversity_name(fc_diversity d) { return (unsigned)d < N_DIVERSITIES ? diversities[d] : "?"; }

fc_status fc_diversity_parse(const char *name, fc_diversity *out) {
    for (int d = 0; d < N_DIVERSITIES; d++)
        if (strcmp(name, diversities[d]) == 0) {
            *out = (fc_diversity)d;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "diversity \"%.40s\"; it is off, parent or keywords", name);
}

static const struct {
    fc_off bit;
    const char *name;
} offs[] = {{FC_OFF_FORK, "fork"},
            {FC_OFF_GROUPS, "groups"},
            {FC_OFF_COALESCE, "coalesce"},
            {FC_OFF_SCORE_TREE, "score-tree"},
            {FC_OFF_OVERLAP, "overlap"},
            {FC_OFF_PREFIX_CACHE, "prefix-cache"},
            {FC_OFF_FORCED, "forced"},
            {FC_OFF_RESTRICTED_HEAD, "restricted-head"},
            {FC_OFF_SHARED_TRUNK, "shared-trunk"},
            {FC_OFF_SCORE_CACHE, "score-cache"}};

const char *fc_off_name(fc_off bit) {
    for (size_t i = 0; i < sizeof offs / sizeof *offs; i++)
        if (offs[i].bit == bit) return offs[i].name;
    return NULL;
}

fc_status fc_off_parse(const char *list, uint32_t *out) {
    uint32_t bits = 0;
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ","), i = 0;
        if (n == 3 && memcmp(at, "all", 3) == 0) {
            bits |= FC_OFF_ALL;
        } else {
            while (i < sizeof offs / sizeof *offs && (strlen(offs[i].name) != n || memcmp(offs[i].name, at, n) != 0))
                i++;
            if (i == sizeof offs / sizeof *offs)
                return FC_FAIL(FC_ERR_ARG,
                               "off: \"%.*s\"; fork, groups, coalesce, score-tree, overlap, prefix-cache, forced, "
                               "restricted-head, shared-trunk, score-cache and all can be named",
                               (int)(n < 40 ? n : 40), at);
            bits |= (uint32_t)offs[i].bit;
        }
        at += n;
        at += *at == ',';
    }
    *out = bits;
    return FC_OK;
}
