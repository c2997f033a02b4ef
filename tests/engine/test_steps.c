/* Nothing is allocated between two draws of a request whose texts nobody asks for: by the engine's own count, and (but
 * under AddressSanitizer, which has the allocator to itself) by that of the C library. */
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "weights_tools/tools.h"

#include <stdatomic.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALLOCATOR_TAKEN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ALLOCATOR_TAKEN
#endif

static atomic_ullong mallocs;

#ifndef ALLOCATOR_TAKEN
void *__libc_malloc(size_t n);                                  /* glibc's own, behind the one below */
__attribute__((visibility("default"))) void *malloc(size_t n) { /* for the C library's own calls too */
    atomic_fetch_add(&mallocs, 1);
    return __libc_malloc(n);
}
#endif

enum { TOKENS = 600 };

static unsigned long long ours[TOKENS + 1], theirs[TOKENS + 1]; /* counts at each draw */
static int draws;
static fc_status (*cpu_draw)(fc_stream s, const fc_draw_args *a);
static fc_status (*cpu_head_draw)(fc_stream s, const fc_head_draw_args *a);

static void count(void) {
    if (draws > TOKENS) return;
    ours[draws] = fc_alloc_count();
    theirs[draws] = atomic_load(&mallocs);
    draws++;
}

static fc_status counting_draw(fc_stream s, const fc_draw_args *a) {
    count();
    return cpu_draw(s, a);
}

static fc_status counting_head_draw(fc_stream s, const fc_head_draw_args *a) {
    count();
    return cpu_head_draw(s, a);
}

static fc_status open_counting(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    FC_TRY(fc_backend_open_cpu(level, threads, limits, out));
    cpu_draw = (*out)->draw;
    (*out)->draw = counting_draw;
    cpu_head_draw = (*out)->head_draw;
    (*out)->head_draw = counting_head_draw;
    return FC_OK;
}

/* If this fails, the engine's memory and its pauses at hour ten are another program's. */
static void a_step_allocates_nothing(void **state) {
    char folder[] = "/tmp/forkcast-test-XXXXXX", path[64];
    fc_request r = text_request("The cat sat on the mat.", 3, TOKENS);
    fc_engine *e;
    fc_event ev;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/long.gguf", folder);
    assert_ok(fc_tools_tiny(&(fc_tiny_options){.ctx = 1024, .seed = 5}, path, NULL, NULL));
    assert_ok(fc_engine_open_on(&(fc_engine_options){.novelty = path, .threads = 2}, open_counting, &e));
    r.sampling.temperature = 0;
    r.sampling.ignore_eos = true;
    for (int kept = 0; kept < 2; kept++) { /* the head draws, then rows of logits are kept */
        if (kept) {
            r.sampling.repetition_penalty = 1.3f; /* its history is sorted for each draw */
            r.sampling.top_logprobs = 3;
        }
        draws = 0;
        ev = run_request(e, &r);
        assert_int_equal(ev.result->all[0].n_tokens, TOKENS);
        assert_int_equal(draws, TOKENS);
#ifndef ALLOCATOR_TAKEN
        assert_true(theirs[0] > 0); /* else nothing was counted */
#endif
        for (int i = 1; i < TOKENS; i++)
            if (ours[i] != ours[0] || theirs[i] != theirs[0])
                fail_msg("before draw %d: %llu allocations of ours, %llu by malloc", i, ours[i] - ours[0],
                         theirs[i] - theirs[0]);
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_allocates_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
