/* The parts of the server's HTTP that need no second process: head checks, messages in any cut, router, keys, timers,
 * and a whole server fed with bad bytes. */
#define _GNU_SOURCE
#include "tests/util.h"

#include "engine/app/http/conn.h"
#include "engine/app/http/head.h"
#include "engine/app/http/router.h"

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const http_limits limits = {.head = 4096, .target = 512, .body = 5000};

/* If this fails, a page of another name can ask a server on its visitor's own machine. */
static void hosts(void **state) {
    static const char *const ours[] = {"localhost", "LocalHost:8000", "a.b.localhost",
                                       "127.0.0.1", "127.9.8.7:1",    "[::1]:2"};
    static const char *const others[] = {"example.com",
                                         "localhost.example.com",
                                         "127.0.0.1.example.com",
                                         "127.0.0",
                                         "127.0.0.0.1",
                                         "127.00000",
                                         "notlocalhost",
                                         "[::1",
                                         "[::2]",
                                         "128.0.0.1",
                                         "1270.0.0.1"};
    static const char *const valid[] = {"a", "a-b.c_d:65535", "1.2.3.4", "[fe80::1]", "[::ffff:1.2.3.4]:80"};
    static const char *const bad[] = {"",    ":80", "a:", "a:65536", "a:123456", "a b",
                                      "a/b", "a@b", "[]", "[g]",     ".a",       "a:b:1"};
    (void)state;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        assert_true(http_host_is_loopback(ours[i], strlen(ours[i])));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (http_host_is_loopback(others[i], strlen(others[i]))) fail_msg("%s is taken for this machine", others[i]);
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) assert_true(http_host_valid(valid[i], strlen(valid[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_host_valid(bad[i], strlen(bad[i]))) fail_msg("\"%s\" is taken for a host", bad[i]);
    assert_true(http_host_is("Example.com:80", 14, "example.com"));
    assert_false(http_host_is("example.com.", 12, "example.com"));
}

/* If this fails, a line that a proxy may read in another way is passed on, or refused with a sentence that misleads. */
static void lines(void **state) {
    const struct {
        const char *line, *words; /* NULL: in order */
    } fields_of[] = {
        {"A: b", NULL},       {"A:", NULL},         {"!#$%&'*+-.^_`|~9: x", NULL},
        {" A: b", "folded"},  {"\tA: b", "folded"}, {": b", "no name"},
        {"A : b", "colon"},   {"A\t: b", "colon"},  {"A", "colon"},
        {"A(b): c", "colon"}, {"", "no name"},
    };
    const struct {
        const char *line, *words;
        bool last;
    } chunks[] = {
        {"5", NULL, false},
        {"000", NULL, true},
        {"aF;x;y=z;q=\"a;\\\"\"", NULL, false},
        {"", "hexadecimal", false},
        {"5 ", "extension", false},
        {"5;", "extension", false},
        {"5;a=", "extension", false},
        {"5;a b", "extension", false},
        {"5;a=\"b", "extension", false},
        {"0x5", "extension", false},
        {"1000000000000000", "hexadecimal", false},
    };
    const struct {
        const char *bytes;
        size_t size;
        bool ascii;
        const char *words;
    } bytes[] = {
        {"a\tb \xff\r\n", 7, false, NULL},     {"a\n", 2, false, "LF alone"},
        {"a\rb", 3, false, "CR stands alone"}, {"a\r\r\n", 4, false, "CR stands alone"},
        {"a\0b", 3, false, "control"},         {"a\x7f", 2, false, "control"},
        {"a\tb", 3, true, "control"},          {"a\xff", 2, true, "ASCII"},
    };
    bool last, cr;
    (void)state;
    for (size_t i = 0; i < sizeof fields_of / sizeof *fields_of; i++) {
        const char *why = http_field_line(fields_of[i].line, strlen(fields_of[i].line));
        if (!why != !fields_of[i].words || (why && !strstr(why, fields_of[i].words)))
            fail_msg("\"%s\": %s", fields_of[i].line, why ? why : "in order");
    }
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        const char *why = http_chunk_line(chunks[i].line, strlen(chunks[i].line), &last);
        if (!why != !chunks[i].words || (why && !strstr(why, chunks[i].words)))
            fail_msg("\"%s\": %s", chunks[i].line, why ? why : "in order");
        if (!why) assert_int_equal(last, chunks[i].last);
    }
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        const char *why;
        cr = false;
        why = http_line_bytes(bytes[i].bytes, bytes[i].size, bytes[i].ascii, &cr);
        if (!why != !bytes[i].words || (why && !strstr(why, bytes[i].words)))
            fail_msg("case %zu: %s", i, why ? why : "in order");
    }
}

/* If this fails, what a client sends as its id breaks lines of the log, or a trace loses its thread. */
static void ids(void **state) {
    (void)state;
    assert_true(http_id_valid("A-b_c.9"));
    assert_false(http_id_valid("") || http_id_valid("a b") || http_id_valid("a\"") || http_id_valid("a\n"));
    assert_true(http_traceparent_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_false(http_traceparent_valid("00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_false(http_traceparent_valid("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
    assert_false(http_traceparent_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
    assert_false(http_traceparent_valid("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_false(http_traceparent_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"));
}

/* What a message came to: one line of text, so that two ways can be compared. */
static void tell(const http_msg *m, http_got got, fc_str *out) {
    if (got == GOT_BAD) assert_ok(fc_str_printf(out, "bad %d %s\n", m->status, m->why));
    else if (got == GOT_DONE)
        assert_ok(fc_str_printf(out, "%s %s ?%s host %s fields %zu keep %d body %zu %016llx\n", m->method, m->path,
                                m->query, m->host, m->n_fields, m->keep, m->body.size,
                                (unsigned long long)fc_siphash(1, 2, fc_str_text(&m->body), m->body.size)));
    else assert_ok(fc_str_puts(out, "more\n"));
}

/* All messages of the bytes, given in pieces of random length, or whole where cuts is NULL. */
static void read_all(const char *p, size_t size, uint64_t *cuts, fc_str *out) {
    size_t at = 0;
    for (bool bad = false; at < size && !bad;) {
        http_msg m;
        http_got got = GOT_MORE;
        bool head = false;
        http_msg_init(&m, &limits);
        while (got == GOT_MORE || got == GOT_HEAD) {
            size_t n = size - at, used;
            char *piece;
            if (cuts && n > 0) n = 1 + (size_t)test_below(cuts, test_below(cuts, 4) ? 4 : 64);
            if (n > size - at) n = size - at;
            if (n == 0 && got == GOT_MORE) break;
            piece = malloc(n ? n : 1); /* of its own, so that a read beyond it is seen */
            assert_non_null(piece);
            memcpy(piece, p + at, n);
            got = http_msg_feed(&m, piece, n, &used);
            free(piece);
            assert_true(used <= n);
            if (got == GOT_MORE) assert_int_equal(used, n);
            assert_true(m.head.size <= limits.head && m.body.size <= limits.body);
            if (got == GOT_HEAD) {
                assert_false(head);
                head = true;
            }
            at += used;
        }
        tell(&m, got, out);
        bad = got == GOT_BAD;
        http_msg_fini(&m);
    }
}

static const char *const seeds[] = {
    "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\nPOST /echo HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 11\r\nX-Y:  v \t\r\n\r\nhello world",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nT: "
    "1\r\n\r\n",
    "HEAD http://h/x HTTP/1.1\r\nhost: h\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "PUT /p HTTP/1.1\r\nEmpty:\r\nHost: h\r\nBlank: \r\nExpect: 100-continue\r\nContent-Length: 1\r\nUpgrade: "
    "h2c\r\nConnection: upgrade\r\n\r\nx",
};

/* Some requests, with some bytes of them changed. */
static void make(uint64_t *rng, int changes, fc_str *s) {
    static const char *const words[] = {"\r\n",
                                        "\n",
                                        "\r",
                                        " ",
                                        "\t",
                                        ":",
                                        "0\r\n\r\n",
                                        "Content-Length: 3\r\n",
                                        "Transfer-Encoding: chunked\r\n",
                                        "Host: h\r\n",
                                        "\xff",
                                        "%00",
                                        ";a=\"b",
                                        "GET"};
    fc_str_clear(s);
    for (int n = 1 + test_below(rng, 3); n > 0; n--)
        assert_ok(fc_str_puts(s, seeds[test_below(rng, sizeof seeds / sizeof *seeds)]));
    for (int n = test_below(rng, changes); n > 0; n--) {
        const char *word = words[test_below(rng, sizeof words / sizeof *words)];
        size_t at = (size_t)test_below(rng, (int)s->size), k = strlen(word);
        char byte = (char)test_below(rng, 256);
        switch (test_below(rng, 3)) {
        case 0: s->data[at] = byte; break;
        case 1:
            memmove(s->data + at, s->data + at + 1, s->size - at);
            s->size--;
            break;
        default:
            assert_ok(fc_str_put(s, word, k));
            memmove(s->data + at + k, s->data + at, s->size - at - k);
            memcpy(s->data + at, word, k);
        }
    }
}

/* If this fails, the way a network cuts bytes decides what they mean, or bytes lead out of a buffer. */
static void any_cut_is_the_same(void **state) {
    uint64_t rng = 20261126;
    fc_str bytes = {0}, whole = {0}, cut = {0};
    int n_bad = 0, n_good = 0;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        make(&rng, 4, &bytes);
        fc_str_clear(&whole);
        fc_str_clear(&cut);
        read_all(bytes.data, bytes.size, NULL, &whole);
        read_all(bytes.data, bytes.size, &rng, &cut);
        if (strcmp(fc_str_text(&whole), fc_str_text(&cut)))
            fail_msg("case %d:\n%s\nwhole: %s\ncut:   %s", i, bytes.data, fc_str_text(&whole), fc_str_text(&cut));
        n_bad += strstr(fc_str_text(&whole), "bad ") != NULL;
        n_good += strstr(fc_str_text(&whole), "bad ") == NULL;
    }
    printf("%d good, %d bad\n", n_good, n_bad);
    assert_true(n_bad > 5000 && n_good > 5000);
    fc_str_fini(&bytes);
    fc_str_fini(&whole);
    fc_str_fini(&cut);
}

/* If this fails, a handler reads another header than the one that it asks for. */
static void fields(void **state) {
    static const char text[] =
        "GET /p%20q?x=1?y HTTP/1.1\r\nHost: h\r\nEmpty:\r\nBlank:   \r\nX-Two: a\r\nx-two: b\r\nL: \tv w\t \r\n\r\n";
    http_msg m;
    size_t used;
    (void)state;
    http_msg_init(&m, &limits);
    assert_int_equal(http_msg_feed(&m, text, sizeof text - 1, &used), GOT_HEAD);
    assert_int_equal(used, sizeof text - 1);
    assert_int_equal(http_msg_feed(&m, "", 0, &used), GOT_DONE);
    assert_string_equal(m.path, "/p%20q");
    assert_string_equal(m.query, "x=1?y");
    assert_string_equal(http_msg_field(&m, "HOST"), "h");
    assert_string_equal(http_msg_field(&m, "empty"), "");
    assert_string_equal(http_msg_field(&m, "blank"), "");
    assert_string_equal(http_msg_field(&m, "X-TWO"), "a");
    assert_string_equal(http_msg_field(&m, "l"), "v w");
    assert_null(http_msg_field(&m, "X-Tw"));
    assert_null(http_msg_field(&m, "X-Two2"));
    http_msg_fini(&m);
}

/* A request whose line has `target` bytes of target, whose head has `head` bytes, with n fields and a body. */
static int verdict(size_t target, size_t head, int n, int body) {
    fc_str s = {0}, out = {0};
    int status = 0;
    assert_ok(fc_str_puts(&s, "GET /"));
    while (s.size < 4 + target) assert_ok(fc_str_puts(&s, "a"));
    assert_ok(fc_str_printf(&s, " HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n", body));
    for (int i = 2; i < n; i++) assert_ok(fc_str_puts(&s, "a: b\r\n"));
    if (head) {
        assert_ok(fc_str_puts(&s, "x:"));
        while (s.size < head - 4) assert_ok(fc_str_puts(&s, "y"));
        assert_ok(fc_str_puts(&s, "\r\n"));
    }
    assert_ok(fc_str_puts(&s, "\r\n"));
    for (int i = 0; i < body; i++) assert_ok(fc_str_puts(&s, "b"));
    read_all(s.data, s.size, NULL, &out);
    sscanf(fc_str_text(&out), "bad %d", &status);
    fc_str_fini(&s);
    fc_str_fini(&out);
    return status;
}

/* If this fails, a cap is another number than what the options say. */
static void caps(void **state) {
    (void)state;
    assert_int_equal(verdict(512 + 32 - 15, 0, 2, 0), 0); /* "GET " and " HTTP/1.1\r\n" are 15 */
    assert_int_equal(verdict(512 + 32 - 14, 0, 2, 0), 414);
    assert_int_equal(verdict(1, 4096, 2, 0), 0);
    assert_int_equal(verdict(1, 4097, 2, 0), 431);
    assert_int_equal(verdict(1, 0, 100, 0), 0);
    assert_int_equal(verdict(1, 0, 101, 0), 431);
    assert_int_equal(verdict(1, 0, 2, 5000), 0);
    assert_int_equal(verdict(1, 0, 2, 5001), 413);
}

static void nothing(void *self, http_req *r, const char *rest) { (void)self, (void)r, (void)rest; }

/* If this fails, a path is answered by another one's function, or a method is refused with the wrong list. */
static void routes(void **state) {
    static const http_route table[] = {
        {.method = "GET", .path = "/v1/models", .run = nothing},
        {.method = "GET", .path = "/v1/models/special", .run = nothing},
        {.method = "GET", .path = "/v1/models/{}", .run = nothing},
        {.method = "POST", .path = "/both", .run = nothing},
        {.method = "GET", .path = "/both", .run = nothing},
    };
    const http_router t = {.routes = table, .n_routes = sizeof table / sizeof *table};
    const struct {
        const char *method, *path;
        int route; /* -1: none */
        const char *rest, *allow;
    } cases[] = {
        {"GET", "/v1/models", 0, "", "GET, HEAD, OPTIONS"},
        {"HEAD", "/v1/models", 0, "", "GET, HEAD, OPTIONS"},
        {"GET", "/v1/models/special", 1, "", "GET, HEAD, OPTIONS"},
        {"GET", "/v1/models/a%2fb%C3%A4", 2, "a/b\xc3\xa4", "GET, HEAD, OPTIONS"},
        {"POST", "/v1/models/x", -1, "", "GET, HEAD, OPTIONS"},
        {"GET", "/v1/models/", -1, "", ""},
        {"GET", "/v1/model", -1, "", ""},
        {"GET", "/v1/modelsx", -1, "", ""},
        {"GET", "/v1/models/x/y", 2, "x/y", "GET, HEAD, OPTIONS"},
        {"POST", "/both", 3, "", "POST, GET, HEAD, OPTIONS"},
        {"GET", "/both", 4, "", "POST, GET, HEAD, OPTIONS"},
        {"DELETE", "/both", -1, "", "POST, GET, HEAD, OPTIONS"},
        {"get", "/both", -1, "", "POST, GET, HEAD, OPTIONS"},
        {"OPTIONS", "*", -1, "", "GET, HEAD, POST, OPTIONS"},
    };
    fc_str rest = {0}, allow = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const http_route *found;
        bool known;
        assert_ok(http_route_find(&t, cases[i].method, cases[i].path, &found, &rest, &known, &allow));
        if (found != (cases[i].route < 0 ? NULL : &table[cases[i].route]))
            fail_msg("%s %s goes to route %td", cases[i].method, cases[i].path, found ? found - table : -1);
        if (found) assert_string_equal(fc_str_text(&rest), cases[i].rest);
        assert_int_equal(known, *cases[i].allow != '\0');
        assert_string_equal(fc_str_text(&allow), cases[i].allow);
    }
    {
        const http_route *found;
        bool known;
        assert_fails(http_route_find(&t, "GET", "/v1/models/%ff", &found, &rest, &known, &allow), FC_ERR_FORMAT,
                     "UTF-8");
    }
    fc_str_fini(&rest);
    fc_str_fini(&allow);
}

/* If this fails, a key that is not in the file is taken, or one that is there is not. */
static void keys(void **state) {
    char path[] = "/tmp/test_http_keys_XXXXXX";
    const int fd = mkstemp(path);
    static const char text[] = "# comment\nfirst-key-1\r\n\nsecond-key-2 \nthird-key-3";
    http_keys *k;
    (void)state;
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1));
    close(fd);
    assert_ok(http_keys_open(path, &k));
    assert_int_equal(http_keys_count(k), 3);
    assert_true(http_keys_have(k, "first-key-1") && http_keys_have(k, "second-key-2") &&
                http_keys_have(k, "third-key-3"));
    assert_false(http_keys_have(k, NULL) || http_keys_have(k, "") || http_keys_have(k, "first-key-"));
    assert_false(http_keys_have(k, "first-key-11") || http_keys_have(k, "First-key-1") ||
                 http_keys_have(k, "# comment"));
    http_keys_close(k);
    http_keys_close(NULL);
    unlink(path);
    assert_fails(http_keys_open(path, &k), FC_ERR_IO, path);
}

static int fired[64], n_fired;
static void fire(http_timer *t) { fired[n_fired++] = *(int *)t->self; }
static void count_wake(void *self) { ++*(int *)self; }

/* If this fails, a deadline comes early, late, twice or not at all. */
static void timers(void **state) {
    http_loop *l;
    http_timer t[64];
    int id[64], wakes = 0;
    uint64_t rng = 5, now = fc_clock_ns();
    (void)state;
    assert_ok(http_loop_open(count_wake, &wakes, &l));
    for (int round = 0; round < 50; round++) {
        uint64_t due[64];
        n_fired = 0;
        for (int i = 0; i < 64; i++) {
            id[i] = i;
            t[i] = (http_timer){.fire = fire, .self = &id[i]};
            assert_ok(http_timer_set(l, &t[i], now + (uint64_t)test_below(&rng, 1000)));
        }
        for (int i = 0; i < 64; i++) { /* some move, some go */
            due[i] = t[i].due_ns;
            if (test_below(&rng, 3) == 0)
                assert_ok(http_timer_set(l, &t[i], due[i] = now + (uint64_t)test_below(&rng, 1000)));
            if (test_below(&rng, 4) == 0) {
                http_timer_clear(l, &t[i]);
                http_timer_clear(l, &t[i]);
                due[i] = 0;
            }
        }
        assert_ok(http_loop_turn(l, 0));
        for (int i = 0; i < 64; i++) {
            int n = 0;
            for (int k = 0; k < n_fired; k++) n += fired[k] == i;
            assert_int_equal(n, due[i] != 0);
        }
        for (int k = 1; k < n_fired; k++) assert_true(due[fired[k - 1]] <= due[fired[k]]);
    }
    now = fc_clock_ns();
    n_fired = 0;
    assert_ok(http_timer_set(l, &t[0], now + 30000000));
    for (int turns = 0; n_fired == 0; turns++) {
        assert_true(turns < 3); /* it sleeps until then */
        assert_ok(http_loop_turn(l, -1));
    }
    assert_true(fc_clock_ns() >= now + 30000000);
    for (int i = 0; i < 5; i++) http_loop_wake(l);
    assert_ok(http_loop_turn(l, -1));
    assert_int_equal(wakes, 1);
    http_loop_close(l);
}

/* A server that answers, answers later, streams and forgets, by what random numbers say. */
typedef struct {
    uint64_t rng;
    http_req *later[64];
    bool stream[64];
    int n_later, n_begun, n_ended;
} chaos;

static void drop(chaos *c, http_req *r) {
    for (int i = 0; i < c->n_later; i++)
        if (c->later[i] == r) {
            c->later[i] = c->later[--c->n_later];
            c->stream[i] = c->stream[c->n_later];
            c->n_ended++;
            return;
        }
    fail_msg("a request that is over is cancelled");
}
static void chaos_cancel(void *self, http_req *r, http_why why) {
    (void)why;
    drop(self, r);
}
static void chaos_writable(void *self, http_req *r) { (void)self, (void)r; }
static const http_watcher chaos_watcher = {.on_cancel = chaos_cancel, .on_writable = chaos_writable};

static void chaos_request(void *self, http_req *r) {
    chaos *c = self;
    const int what = test_below(&c->rng, 4);
    c->n_begun++;
    if (what == 0 || c->n_later == 64) {
        c->n_ended++;
        http_answer(r, 200, "text/plain", "now", 3);
        return;
    }
    if (what == 1) {
        c->n_ended++;
        return; /* forgotten: 500 */
    }
    c->later[c->n_later] = r;
    c->stream[c->n_later++] = what == 3;
    http_watch(r, &chaos_watcher, c);
    if (what == 3) http_begin(r, 200, "text/event-stream");
}

static void chaos_step(chaos *c) {
    static const char piece[3000];
    http_req *r;
    int i;
    if (c->n_later == 0) return;
    i = test_below(&c->rng, c->n_later);
    r = c->later[i];
    if (c->stream[i] && test_below(&c->rng, 3)) {
        fc_status st = http_write(r, piece, (size_t)test_below(&c->rng, sizeof piece));
        if (st && st != FC_ERR_FULL) fail_msg("%s", fc_status_text());
        return;
    }
    if (c->stream[i] && test_below(&c->rng, 2)) http_end(r);
    else if (c->stream[i]) http_cut(r);
    else http_answer(r, 200, "text/plain", "later", 5);
    drop(c, r);
}

/* If this fails, some bytes, some order of answers or some moment of leaving crashes the server, loses a request, or
 * leaks. Run under AddressSanitizer too. */
static void chaos_is_survived(void **state) {
    enum { CLIENTS = 24 };
    const char *address;
    char path[64], name[80];
    chaos c = {.rng = 11};
    int clients[CLIENTS];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    http *h;
    bool over = false;
    fc_str bytes = {0};
    http_options o = {.n_listen = 1,
                      .connections = CLIENTS - 4,
                      .body = 5000,
                      .buffer = 8192,
                      .memory = 40000,
                      .no_log = true,
                      .on_request = chaos_request,
                      .self = &c};
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_http_%d.sock", (int)getpid());
    snprintf(name, sizeof name, "unix:%s", path);
    address = name;
    o.listen = &address;
    assert_ok(http_open(&o, &h));
    memcpy(a.sun_path, path, strlen(path));
    for (int i = 0; i < CLIENTS; i++) clients[i] = -1;
    for (int step = 0; step < 60000; step++) {
        const int i = test_below(&c.rng, CLIENTS);
        static char sink[20000];
        if (clients[i] < 0) {
            clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
            assert_true(clients[i] >= 0);
            if (connect(clients[i], (struct sockaddr *)&a, sizeof a)) { /* the backlog is full */
                close(clients[i]);
                clients[i] = -1;
            }
        } else if (test_below(&c.rng, 20) == 0) {
            if (test_below(&c.rng, 2)) shutdown(clients[i], SHUT_WR);
            else {
                close(clients[i]);
                clients[i] = -1;
            }
        } else if (test_below(&c.rng, 3)) {
            size_t n;
            make(&c.rng, test_below(&c.rng, 8) ? 1 : 4, &bytes); /* 1: none */
            n = test_below(&c.rng, 8) ? bytes.size : (size_t)test_below(&c.rng, (int)bytes.size);
            (void)!send(clients[i], bytes.data, n, MSG_NOSIGNAL);
        } else if (recv(clients[i], sink, sizeof sink, 0) == 0) {
            close(clients[i]);
            clients[i] = -1;
        }
        if (test_below(&c.rng, 3) == 0) chaos_step(&c);
        assert_ok(http_turn(h, 0, &over));
        assert_false(over);
        conn_check(h);
    }
    assert_true(c.n_begun > 2000);
    printf("%d begun, %llu cancelled, %llu turned away\n", c.n_begun, (unsigned long long)http_count(h).cancelled,
           (unsigned long long)http_count(h).turned_away);
    assert_true(http_count(h).cancelled > 50 && http_count(h).turned_away > 0);
    http_stop(h);
    for (int turn = 0; !over; turn++) {
        assert_true(turn < 100000);
        chaos_step(&c);
        assert_ok(http_turn(h, 1, &over));
        conn_check(h);
        if (turn == 200) http_stop(h);
        for (int i = 0; i < CLIENTS && turn == 300; i++)
            if (clients[i] >= 0) close(clients[i]);
    }
    assert_int_equal(c.n_begun, c.n_ended);
    assert_int_equal(c.n_later, 0);
    printf("%d requests, %llu connections, %llu cancelled\n", c.n_begun, (unsigned long long)http_count(h).accepted,
           (unsigned long long)http_count(h).cancelled);
    http_close(h);
    fc_str_fini(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),  cmocka_unit_test(lines),
        cmocka_unit_test(ids),    cmocka_unit_test(any_cut_is_the_same),
        cmocka_unit_test(fields), cmocka_unit_test(caps),
        cmocka_unit_test(routes), cmocka_unit_test(keys),
        cmocka_unit_test(timers), cmocka_unit_test(chaos_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
