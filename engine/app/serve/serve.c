/* serve - the server from the command line. */
#include "engine/app/serve/serve.h"

#include "engine/app/commands.h"
#include "engine/app/http/head.h"
#include "engine/app/textio.h"
#include "engine/base/log.h"
#include "engine/base/os.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(http *) to_stop; /* for the handler of signals; NULL: nobody can ask yet, or any more */

static volatile sig_atomic_t failed; /* the exit code once nobody can be asked */

static void on_signal(int n) {
    static const char word[] = "forkcast serve: ended by a signal\n";
    http *h = atomic_load(&to_stop);
    (void)n;
    if (h) {
        http_stop(h); /* called again: at once */
        return;
    }
    if (write(STDERR_FILENO, word, sizeof word - 1) < 0) _exit(failed); /* nobody reads it */
    _exit(failed);
}

/* From here on a signal is a wish that is granted: status 0. */
static void catch_signals(void) {
    const struct sigaction end = {.sa_handler = on_signal};
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
}

/* Once it can be asked: an address a line, and whoever started it is told. */
static void announce(serve *s) {
    for (size_t i = 0; i < http_n_addresses(s->h); i++) {
        const char *a = http_address(s->h, i), *what = i >= s->watched ? "metrics" : "listening";
        printf("%s on %s%s\n", what, strncmp(a, "unix:", 5) == 0 ? "" : "http://", a);
    }
    fflush(stdout); /* a reader that has gone is no reason not to serve */
    serve_systemd_ready(s);
}

static void on_wake(void *self) {
    serve *s = self;
    const bool was = s->ready;
    if (serve_loaded(s)) http_stop(s->h);
    if (s->loading && http_stopping(s->h) && !s->given_up) { /* nothing is under way that could be waited for */
        s->given_up = true;
        http_stop(s->h);
    }
    if (s->ready && !was && !http_stopping(s->h)) announce(s);
    serve_worker_back(&s->reader);
    serve_worker_back(&s->writer);
    serve_worker_back(&s->looker);
    if (s->ready) serve_events(s);
}

/* systemd has opened sockets for this process. */
static bool inherits(void) {
    const char *pid = getenv("LISTEN_PID");
    return getenv("LISTEN_FDS") && pid && strtol(pid, NULL, 10) == (long)getpid();
}

/* Of an address that is in use, the option that names another. */
static fc_status in_use(fc_status st, const char *address, const char *option) {
    char why[512];
    if (st != FC_ERR_FULL || strncmp(fc_last_error(), address, strlen(address)) != 0) return st;
    snprintf(why, sizeof why, "%s", fc_last_error());
    return FC_FAIL(FC_ERR_IO, "%s; %s names another", why, option);
}

static fc_status open_sockets(serve *s) {
    const serve_config *c = &s->c;
    const char *all[ARG_LIST_MAX + 2];
    size_t n = 0;
    fc_str address = {0}, metrics = {0};
    fc_status st;
    http_options o = {
        .listen = all,
        .inherit = true,
        .hosts = c->hosts.items,
        .n_hosts = c->hosts.n,
        .connections = c->max_connections,
        .body = (size_t)c->max_body,
        .memory = (size_t)c->max_memory << 20,
        .head_ms = c->head_ms,
        .body_ms = c->body_ms,
        .idle_ms = c->idle_ms,
        .stall_ms = c->stall_ms,
        .read_rate = c->read_rate,
        .drain_delay_ms = c->drain_delay_ms,
        .drain_ms = c->drain_ms,
        .no_log = !c->access_log,
        .on_head = serve_on_head,
        .on_request = serve_on_request,
        .on_wake = on_wake,
        .error_body = serve_error_body,
        .on_end = serve_on_end,
        .self = s,
    };
    st = serve_address(s, c->port, &address);
    if (!st) st = serve_address(s, c->metrics_port, &metrics);
    for (; n < c->listen.n; n++) all[n] = c->listen.items[n];
    if (!n && (c->addressed || !inherits())) all[n++] = fc_str_text(&address); /* else passed sockets stand for it */
    if (c->metrics_port) all[n++] = fc_str_text(&metrics);
    o.n_listen = n;
    if (!st) st = http_open(&o, &s->h);
    if (c->metrics_port) st = in_use(st, fc_str_text(&metrics), "--metrics-port");
    st = in_use(st, fc_str_text(&address), "--port");
    if (!st) s->watched = c->metrics_port ? http_last_listen(s->h) : SIZE_MAX;
    fc_str_fini(&address);
    fc_str_fini(&metrics);
    return st;
}

/* Who can reach an address of this machine alone has been let in already. */
static void warn_of_open_doors(const serve *s) {
    fc_str list = {0};
    fc_status st = FC_OK;
    for (size_t i = 0; i < http_n_addresses(s->h) && !s->keys && !st; i++) {
        const char *a = http_address(s->h, i);
        if (strncmp(a, "unix:", 5) == 0 || http_host_is_loopback(a, strlen(a))) continue;
        st = fc_str_printf(&list, "%s%s", list.size ? ", " : "", a);
    }
    if (list.size)
        fc_log(FC_LOG_WARN, "%s: open to others, and without --api-key-file everybody who reaches it is served",
               fc_str_text(&list));
    fc_str_fini(&list);
}

static void wake(void *self) {
    serve *s = self;
    http_wake(s->h);
}

static fc_status run(serve *s) {
    serve_routes_init(s);
    FC_TRY(open_sockets(s));
    atomic_store(&to_stop, s->h);
    FC_TRY(serve_worker_open(&s->reader, "reader", s->c.max_requests, wake, s));
    FC_TRY(serve_worker_open(&s->writer, "writer", SERVE_WRITINGS, wake, s));
    if (s->table) FC_TRY(serve_worker_open(&s->looker, "looker", s->c.max_connections, wake, s));
    warn_of_open_doors(s);
    serve_systemd_begin(s);
    FC_TRY(serve_load(s));
    FC_TRY(http_run(s->h));
    if (s->loading) return FC_OK; /* st is still the loader's */
    return s->st ? FC_FAIL(s->st, "%s", s->why) : FC_OK;
}

/* A loader cannot be told to stop, and takes as long as the models are large, nor who waits for a file of a dead mount:
 * they go with the process. */
static void leave(serve *s, const char *doing) {
    atomic_store(&to_stop, NULL);
    http_close(s->h); /* sockets of files are taken away */
    fc_log(FC_LOG_WARN, "ended by a signal while %s", doing);
    _exit(0);
}

static void fini(serve *s) {
    atomic_store(&to_stop, NULL);
    serve_hush(s);
    serve_worker_close(&s->looker);
    serve_worker_back(&s->looker); /* what it lacks is the reader's */
    serve_worker_close(&s->reader);
    serve_worker_close(&s->writer);
    serve_worker_back(&s->reader); /* what was made for nobody */
    serve_worker_back(&s->writer);
    if (s->h) serve_calls_fini(s);
    http_close(s->h);
    serve_unload(s);
    serve_config_fini(&s->c);
}

static fc_status show_config(serve *s) {
    fc_str out = {0};
    fc_status st = FC_OK;
    if (s->c.print) st = serve_config_print(&s->c, &out);
    else st = fc_str_puts(&out, "the configuration is in order\n");
    if (!st) st = text_write(fc_str_text(&out), out.size);
    fc_str_fini(&out);
    return st;
}

int cmd_serve(int argc, char **argv) {
    bool help;
    void *p;
    serve *s;
    fc_status st = fc_alloc(1, sizeof *s, "server", &p);
    if (st) return args_exit("serve", st);
    s = p;
    st = serve_config_read(&s->c, argc, argv, &help);
    if (!st && !help && s->c.print) st = show_config(s);
    else if (!st && !help) {
        if (!s->c.check) catch_signals();
        st = serve_prepare(s);
        if (!st && s->c.check) st = serve_check(s);
        if (!st) st = s->c.check ? show_config(s) : run(s);
    }
    if (!st && serve_give_up(s)) leave(s, "the models were being loaded");
    if (!st && !serve_worker_idle(&s->looker)) leave(s, "the table was being read");
    failed = st != FC_OK;
    fini(s);
    fc_free(s);
    return args_exit("serve", st);
}
