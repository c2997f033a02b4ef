#include "engine/stage.h"

#include "engine/base/mem.h"

#include <string.h>

enum { LEAST = 256 }; /* a multiple of what any kernel asks of an address */

/* Steps of an eighth of the power of two below, and LEAST at least. */
size_t fc_stage_room(size_t n) {
    size_t step = LEAST;
    if (n == 0) return 0;
    while (step <= n / 16) step *= 2;
    return (n + step - 1) / step * step;
}

fc_status fc_stage_open(fc_backend *be, size_t bytes, const char *what, fc_stage *out) {
    fc_stage s = {.be = be, .bytes = bytes};
    fc_status st = FC_OK;
    void *p;
    FC_TRY(fc_alloc(bytes, 1, what, &p));
    s.host = p;
    FC_TRY_GOTO(st, be->alloc(be, bytes, what, &p), fail);
    s.dev = p;
    *out = s;
    return FC_OK;
fail:
    fc_stage_close(&s);
    return st;
}

void fc_stage_close(fc_stage *s) {
    if (!s->be) return;
    s->be->free(s->be, s->dev);
    fc_free(s->host);
    memset(s, 0, sizeof *s);
}

void fc_stage_begin(fc_stage *s) { s->used = 0; }

void *fc_stage_take(fc_stage *s, size_t bytes, const void **dev) {
    void *host = s->host + s->used;
    *dev = s->dev + s->used;
    FC_ASSERT(fc_stage_room(bytes) <= s->bytes - s->used);
    s->used += fc_stage_room(bytes);
    return host;
}

const void *fc_stage_put(fc_stage *s, const void *list, size_t bytes) {
    const void *dev;
    void *host = fc_stage_take(s, bytes, &dev);
    if (bytes) memcpy(host, list, bytes);
    return dev;
}

fc_status fc_stage_send(fc_stage *s) { return s->used ? s->be->upload(s->be, s->dev, s->host, s->used) : FC_OK; }
