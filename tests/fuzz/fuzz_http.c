/* fuzz_http - bytes of a client, whole and in pieces: the messages and the verdict are the same, and nothing is read
 * beyond what is given. The first byte seeds the cuts. */
#include "engine/app/http/msg.h"

#include "engine/base/hash.h"
#include "engine/base/rng.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const http_limits limits = {.head = 2048, .target = 256, .body = 1000};

/* A hash of all that was understood. */
static uint64_t understand(const uint8_t *data, size_t size, uint64_t *cuts) {
    uint64_t sum = 0;
    size_t at = 0;
    for (bool bad = false; at < size && !bad;) {
        http_msg m;
        http_got got = GOT_MORE;
        http_msg_init(&m, &limits);
        while (got == GOT_MORE || got == GOT_HEAD) {
            size_t n = size - at, used;
            char *piece;
            if (cuts && n > 1) n = 1 + fc_rng_next(cuts) % (n < 40 ? n : 40);
            if (n == 0 && got == GOT_MORE) break;
            piece = malloc(n + (n == 0)); /* of its own, so that a read beyond it is seen */
            if (!piece) abort();
            if (n) memcpy(piece, data + at, n);
            got = http_msg_feed(&m, piece, n, &used);
            free(piece);
            if (used > n || (got == GOT_MORE && used < n)) abort();
            if (m.head.size > limits.head || m.body.size > limits.body || m.n_fields > HTTP_FIELDS_MAX) abort();
            if (got == GOT_HEAD && (!m.method || !m.path || !m.query || !m.host || !*m.path)) abort();
            at += used;
        }
        sum = fc_siphash(sum, got, fc_str_text(&m.body), got == GOT_DONE ? m.body.size : 0);
        if (got == GOT_DONE)
            for (size_t i = 0; i < m.n_fields; i++)
                sum = fc_siphash(sum, i, m.head.data + m.fields[i].value, strlen(m.head.data + m.fields[i].value));
        if (got == GOT_DONE) sum = fc_siphash(sum, m.keep, m.path, strlen(m.path));
        if (got == GOT_BAD) sum = fc_siphash(sum, (uint64_t)m.status, m.why, strlen(m.why));
        bad = got == GOT_BAD;
        http_msg_fini(&m);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t cuts;
    if (size == 0) return 0;
    cuts = data[0];
    if (understand(data + 1, size - 1, NULL) != understand(data + 1, size - 1, &cuts)) abort();
    return 0;
}
