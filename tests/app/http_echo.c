/* http_echo - a server for test_http.py: echoes, answers later, streams, hangs; what it counts is asked at /counts.
 *
 *   http_echo [KEY=VALUE]...    listen=ADDRESS (several), inherit=1, keys=FILE, origin=URL, host=NAME (each once),
 *                               and the numbers of http_options by name: idle_ms=200
 *
 * Prints its addresses, one a line, then serves until SIGTERM.
 */
#define _GNU_SOURCE
#include "engine/app/http/listen.h"
#include "engine/app/http/router.h"

#include "engine/base/json.h"
#include "engine/base/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static http *server;
static http_router router;
static int hanging; /* requests that wait for ever, now */

typedef struct job { /* an answer that comes later, piece by piece */
    http_req *r;
    http_timer timer;
    long left, size, every_ms;
    bool flood; /* as fast as it is read */
    struct job *next;
} job;

static long number(const http_req *r, const char *name, long fallback) {
    const char *at = http_query(r);
    size_t n = strlen(name);
    for (; at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
        if (strncmp(at, name, n) == 0 && at[n] == '=') return strtol(at + n + 1, NULL, 10);
    return fallback;
}

static void text(http_req *r, const char *s) { http_answer(r, 200, "text/plain", s, strlen(s)); }

static void free_job(job *j) {
    http_timer_clear(http_timers(server), &j->timer);
    free(j);
}

/* Pieces until the job is done or the buffer full: "0", "1", ... filled up to their size. */
static void pour(job *j, long most) {
    char *piece = calloc(1, (size_t)j->size + 32);
    while (j->left > 0 && most-- > 0) {
        int n = snprintf(piece, 32, "data: %ld ", j->left);
        memset(piece + n, '.', (size_t)j->size);
        if (http_write(j->r, piece, (size_t)j->size)) break;
        j->left--;
    }
    free(piece);
    if (j->left == 0) {
        http_end(j->r);
        free_job(j);
    }
}

static void cancelled(void *self, http_req *r, http_why why) {
    job *j = self;
    if (why == HTTP_CLOSING && j->left > 0) { /* a last word */
        if (!j->every_ms && !j->flood) http_fail(r, 503, "closing");
        else if (http_write(r, "closing", 7) == FC_OK) http_end(r);
    }
    hanging -= j->left < 0;
    free_job(j);
}
static void writable(void *self, http_req *r) {
    (void)r;
    pour(self, 1000000);
}
static const http_watcher watcher = {.on_cancel = cancelled, .on_writable = writable};

static void fired(http_timer *t) {
    job *j = t->self;
    if (!j->every_ms) {
        text(j->r, "later");
        free_job(j);
        return;
    }
    if (http_timer_set(http_timers(server), &j->timer, t->due_ns + (uint64_t)j->every_ms * 1000000u)) abort();
    pour(j, 1);
}

static job *start(http_req *r) {
    job *j = calloc(1, sizeof *j);
    j->r = r;
    j->timer = (http_timer){.fire = fired, .self = j};
    http_watch(r, &watcher, j);
    return j;
}

static void health(void *self, http_req *r, const char *rest) {
    (void)self, (void)rest;
    if (http_stopping(http_server(r))) http_fail(r, 503, "stopping");
    else text(r, "ok");
}

static void echo(void *self, http_req *r, const char *rest) {
    size_t size;
    const char *body = http_body(r, &size), *probe = http_header(r, "X-Probe");
    (void)self, (void)rest;
    if (probe && http_field(r, "x-probe", probe)) abort();
    http_note(r, "\"note\":1");
    http_answer(r, 200, "application/octet-stream", body, size);
}

static void item(void *self, http_req *r, const char *rest) {
    (void)self;
    text(r, rest);
}

static void later(void *self, http_req *r, const char *rest) {
    job *j = start(r);
    (void)self, (void)rest;
    j->left = 1;
    if (http_timer_set(http_timers(server), &j->timer, fc_clock_ns() + (uint64_t)number(r, "ms", 50) * 1000000u))
        abort();
}

static void hang(void *self, http_req *r, const char *rest) {
    (void)self, (void)rest;
    start(r)->left = -1;
    hanging++;
}

static void stream(void *self, http_req *r, const char *rest) {
    job *j = start(r);
    (void)self, (void)rest;
    j->left = number(r, "n", 10);
    j->size = number(r, "size", 20);
    j->every_ms = number(r, "ms", 0);
    j->flood = !j->every_ms;
    http_begin(r, 200, "text/event-stream; charset=utf-8");
    if (j->flood) pour(j, 1000000);
    else if (http_timer_set(http_timers(server), &j->timer, fc_clock_ns() + (uint64_t)j->every_ms * 1000000u)) abort();
}

static void cut(void *self, http_req *r, const char *rest) {
    (void)self, (void)rest;
    http_begin(r, 200, "text/plain");
    if (http_write(r, "half", 4)) abort();
    http_cut(r);
}

static void big(void *self, http_req *r, const char *rest) {
    size_t size = (size_t)number(r, "size", 1000000);
    char *body = malloc(size + 1);
    (void)self, (void)rest;
    memset(body, 'b', size + 1);
    http_answer(r, 200, "text/plain", body, size);
    free(body);
}

static void own(void *self, http_req *r, const char *rest) {
    const size_t size = (size_t)number(r, "size", 1000000);
    char piece[1000];
    fc_str body = {0};
    (void)self, (void)rest;
    memset(piece, 'b', sizeof piece);
    for (size_t left = size, n; left; left -= n) {
        n = left < sizeof piece ? left : sizeof piece;
        if (fc_str_put(&body, piece, n)) abort();
    }
    http_answer_own(r, 200, "text/plain", &body);
}

static void forget(void *self, http_req *r, const char *rest) { (void)self, (void)r, (void)rest; }

static void counts(void *self, http_req *r, const char *rest) {
    http_counts c = http_count(server);
    char out[512];
    (void)self, (void)rest;
    snprintf(
        out, sizeof out,
        "{\"accepted\":%llu,\"turned_away\":%llu,\"requests\":%llu,\"cancelled\":%llu,\"connections\":%d,\"active\":%d,"
        "\"bodies\":%zu,\"unread\":%zu,\"hanging\":%d,\"turns\":%llu,\"bytes_out\":%llu,"
        "\"gave_way\":%llu,\"no_room\":%llu,\"too_slow\":%llu}",
        (unsigned long long)c.accepted, (unsigned long long)c.turned_away, (unsigned long long)c.requests,
        (unsigned long long)c.cancelled, c.connections, c.active, http_budget_share(http_memory(server), HTTP_BODIES),
        http_budget_share(http_memory(server), HTTP_UNREAD), hanging,
        (unsigned long long)http_loop_turns(http_timers(server)), (unsigned long long)c.bytes_out,
        (unsigned long long)c.gave_way, (unsigned long long)c.no_room, (unsigned long long)c.too_slow);
    http_answer(r, 200, "application/json", out, strlen(out));
}

/* Another thread's answers: made there, taken up by on_wake. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static job *made;

static void *work(void *arg) {
    job *j = arg;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    pthread_mutex_lock(&lock);
    j->next = made;
    made = j;
    pthread_mutex_unlock(&lock);
    http_wake(server);
    return NULL;
}

static void left(void *self, http_req *r, http_why why) {
    (void)self, (void)r, (void)why;
    abort(); /* the tests stay until it is answered */
}

static void thread(void *self, http_req *r, const char *rest) {
    pthread_t t;
    job *j = calloc(1, sizeof *j);
    static const http_watcher none = {.on_cancel = left};
    (void)self, (void)rest;
    j->r = r;
    http_watch(r, &none, NULL);
    if (pthread_create(&t, NULL, work, j) || pthread_detach(t)) abort();
}

static void on_wake(void *self) {
    job *all;
    (void)self;
    pthread_mutex_lock(&lock);
    all = made;
    made = NULL;
    pthread_mutex_unlock(&lock);
    for (job *j = all, *next; j; j = next) {
        next = j->next;
        text(j->r, "woken");
        free(j);
    }
}

static void on_head(void *self, http_req *r) { http_router_head(self, r); }
static void on_request(void *self, http_req *r) { http_router_request(self, r); }
static fc_status error_body(void *self, http_req *r, int status, const char *sentence, fc_str *out) {
    (void)self, (void)r;
    FC_TRY(fc_str_puts(out, "{\"error\":{\"message\":"));
    FC_TRY(fc_json_put_string(out, sentence, strlen(sentence)));
    return fc_str_printf(out, ",\"code\":%d}}", status);
}
static void on_signal(int n) {
    (void)n;
    http_stop(server);
}

static const http_route routes[] = {
    {.method = "GET", .path = "/health", .run = health, .open = true, .quiet = true},
    {.method = "GET", .path = "/counts", .run = counts, .open = true, .quiet = true},
    {.method = "POST", .path = "/echo", .run = echo},
    {.method = "GET", .path = "/echo", .run = echo},
    {.method = "POST", .path = "/small", .run = echo, .max_body = 100},
    {.method = "GET", .path = "/items/{}", .run = item},
    {.method = "GET", .path = "/later", .run = later},
    {.method = "GET", .path = "/hang", .run = hang},
    {.method = "POST", .path = "/hang", .run = hang},
    {.method = "GET", .path = "/stream", .run = stream},
    {.method = "GET", .path = "/cut", .run = cut},
    {.method = "GET", .path = "/big", .run = big},
    {.method = "GET", .path = "/own", .run = own},
    {.method = "GET", .path = "/forget", .run = forget},
    {.method = "GET", .path = "/thread", .run = thread},
};

int main(int argc, char **argv) {
    const char *listen[16], *origin = NULL, *host = NULL;
    http_keys *keys = NULL;
    http_options o = {.listen = listen,
                      .on_head = on_head,
                      .on_request = on_request,
                      .on_wake = on_wake,
                      .error_body = error_body,
                      .self = &router};
    struct {
        const char *name;
        int *value;
        size_t *bytes;
    } numbers[] = {
        {"unix_mode", (int *)&o.unix_mode, NULL},
        {"connections", &o.connections, NULL},
        {"head_ms", &o.head_ms, NULL},
        {"body_ms", &o.body_ms, NULL},
        {"idle_ms", &o.idle_ms, NULL},
        {"stall_ms", &o.stall_ms, NULL},
        {"read_rate", &o.read_rate, NULL},
        {"drain_delay_ms", &o.drain_delay_ms, NULL},
        {"drain_ms", &o.drain_ms, NULL},
        {"head", NULL, &o.head},
        {"target", NULL, &o.target},
        {"body", NULL, &o.body},
        {"memory", NULL, &o.memory},
        {"buffer", NULL, &o.buffer},
    };
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        bool known = false;
        if (!value) return 2;
        *value++ = '\0';
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (strcmp(argv[i], numbers[k].name) == 0) {
                known = true;
                if (numbers[k].value) *numbers[k].value = (int)strtol(value, NULL, 0);
                if (numbers[k].bytes) *numbers[k].bytes = strtoul(value, NULL, 0);
            }
        if (known) continue;
        if (strcmp(argv[i], "listen") == 0 && o.n_listen < 16) listen[o.n_listen++] = value;
        else if (strcmp(argv[i], "inherit") == 0) o.inherit = true;
        else if (strcmp(argv[i], "log") == 0) o.no_log = *value == '0';
        else if (strcmp(argv[i], "origin") == 0) origin = value;
        else if (strcmp(argv[i], "host") == 0) host = value;
        else if (strcmp(argv[i], "keys") == 0 && http_keys_open(value, &keys) == FC_OK) continue;
        else return fprintf(stderr, "http_echo: %s: %s\n", argv[i], fc_status_text()), 2;
    }
    router = (http_router){.routes = routes,
                           .n_routes = sizeof routes / sizeof *routes,
                           .keys = keys,
                           .origins = &origin,
                           .n_origins = origin != NULL};
    o.hosts = &host;
    o.n_hosts = host != NULL;
    if (http_open(&o, &server)) return fprintf(stderr, "http_echo: %s\n", fc_status_text()), 1;
    for (size_t i = 0; i < http_n_addresses(server); i++) puts(http_address(server, i));
    fflush(stdout);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    http_notify("READY=1");
    if (http_run(server)) return fprintf(stderr, "http_echo: %s\n", fc_status_text()), 1;
    http_close(server);
    http_keys_close(keys);
    return 0;
}
