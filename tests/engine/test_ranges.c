/* The one table of what sampling fields may be, held against requests and recipes alike. */
#include "engine/options.h"
#include "engine/ranges.h"
#include "tests/util.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void set(fc_sampling *s, const fc_option_row *r, bool is_whole, double v) {
    char *place = (char *)s + r->at;
    int whole = is_whole ? (int)v : 0;
    float real = (float)v;
    if (is_whole) memcpy(place, &whole, sizeof whole);
    else memcpy(place, &real, sizeof real);
}

static fc_status in_recipe(const char *field, double v) {
    char text[160];
    fc_recipe *r;
    fc_status st;
    if (strcmp(field, "min_tokens") == 0)
        snprintf(text, sizeof text, "{\"sampling\":{\"max_tokens\":16777216,\"min_tokens\":%.17g}}", v);
    else snprintf(text, sizeof text, "{\"sampling\":{\"%s\":%.17g}}", field, v);
    st = fc_recipe_parse("recipe", text, strlen(text), &r);
    if (!st) fc_recipe_close(r);
    return st;
}

/* If this fails, a recipe takes what a request refuses, or the other way round. */
static void recipe_and_request_take_the_same(void **state) {
    int held = 0;
    (void)state;
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option_row *r = fc_option_row_at(i);
        const bool whole = r->o.kind == FC_OPTION_INT;
        const double step = whole ? 1 : 1e-3 * (r->o.max - r->o.min);
        const double inside[] = {r->o.min + (whole ? 0 : 1e-3 * fabs(r->o.min)), r->o.max},
                     outside[] = {r->o.min - step, r->o.max + step};
        fc_sampling s;
        if (r->o.scope != FC_SCOPE_SAMPLING || (!whole && r->o.kind != FC_OPTION_FLOAT)) continue;
        held++;
        for (int k = 0; k < 2; k++) {
            fc_sampling_init(&s);
            set(&s, r, whole, inside[k]);
            assert_ok(fc_sampling_in_range(&s));
            assert_ok(in_recipe(r->o.name, inside[k]));
            if (whole && (outside[k] > INT_MAX || outside[k] < INT_MIN)) continue;
            set(&s, r, whole, outside[k]);
            assert_fails(fc_sampling_in_range(&s), FC_ERR_ARG, r->o.name);
            assert_fails(in_recipe(r->o.name, outside[k]), FC_ERR_FORMAT, r->o.name);
        }
        if (whole) continue;
        fc_sampling_init(&s);
        set(&s, r, whole, NAN);
        assert_fails(fc_sampling_in_range(&s), FC_ERR_ARG, r->o.name);
    }
    assert_int_equal(held, 11);
}

/* If this fails, a sentence says 2.14748e+09 where it means 2147483647. */
static void numbers_are_written_out(void **state) {
    (void)state;
    assert_fails(fc_in_range("top_k", -3, 0, INT_MAX), FC_ERR_ARG, "top_k = -3; it must lie in 0 to 2147483647");
    assert_fails(fc_in_range("top_p", (double)1.1f, 1e-9, 1), FC_ERR_ARG, "top_p = 1.1; it must lie in 1e-09 to 1");
    assert_fails(fc_in_range("temperature", NAN, 0, 100), FC_ERR_ARG, "temperature = nan");
    assert_fails(fc_in_range("temperature", (double)INFINITY, 0, 100), FC_ERR_ARG, "temperature = inf");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipe_and_request_take_the_same),
        cmocka_unit_test(numbers_are_written_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
