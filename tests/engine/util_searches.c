#include "tests/engine/util_searches.h"

#include "tests/engine/util_engine.h"

const fc_draw_mode searches[SEARCHES] = {FC_DRAW_SBS, FC_DRAW_BEAM, FC_DRAW_TOPK, FC_DRAW_EXACT};

const char prompt[] = "The quick brown fox jumps over the lazy dog. Topic:";

const char *const *sixty_names(void) {
    static const char *const first[] = {" music", " movie", " game", " cook", " craft"};
    static const char *const then[] = {"", " art", " history", " video", " night and day", " garden, in the rain"};
    static char text[NAMES][64];
    static const char *list[NAMES];
    for (int i = 0; i < NAMES; i++) {
        snprintf(text[i], sizeof text[i], "%s%s%s", first[i % 5], then[i / 5 % 6], i < 30 ? "" : " for two");
        list[i] = text[i];
    }
    return list;
}

const char *const six[SIX] = {" music", " music video", " game", " gardening", " x", " movie night and day"};

fc_request search_of(fc_draw_mode draw, int n, const char *const *names, int n_names) {
    fc_request r = text_request(prompt, n, 32);
    r.draw = draw;
    r.constraint = FC_CONSTRAINT_MASK;
    r.names = names;
    r.n_names = (size_t)n_names;
    return r;
}

int name_of(const fc_candidate *c, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (strlen(names[i]) == c->text_size && memcmp(names[i], c->text, c->text_size) == 0) return i;
    fail_msg("\"%s\" is no name", c->text);
    return -1;
}
