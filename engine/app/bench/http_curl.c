#include "engine/app/bench/http_client.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/str.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { ANSWER_MAX = 256 << 20 };

/* One request under way. */
typedef struct call {
    CURL *easy;
    fc_str body, answer;
    char error[CURL_ERROR_SIZE];
    int tag;
    bool dropped;
    struct call *next;
} call;

struct http_client {
    CURLM *multi;
    struct curl_slist *headers;
    call *calls;
};

static fc_status failed(const char *what, const char *why) { return FC_FAIL(FC_ERR_IO, "%s: %s", what, why); }

fc_status http_client_open(const char *key, http_client **out) {
    http_client *c;
    struct curl_slist *more;
    fc_str bearer = {0};
    void *p;
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return failed("libcurl", "it does not start");
    FC_TRY(fc_alloc(1, sizeof *c, "HTTP client", &p));
    c = p;
    c->multi = curl_multi_init();
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (key && c->headers && fc_str_printf(&bearer, "Authorization: Bearer %s", key) == FC_OK) {
        more = curl_slist_append(c->headers, fc_str_text(&bearer));
        if (more) c->headers = more;
    }
    fc_str_fini(&bearer);
    if (!c->multi || !c->headers) {
        http_client_close(c);
        return FC_FAIL(FC_ERR_MEM, "HTTP client");
    }
    *out = c;
    return FC_OK;
}

static void drop(http_client *c, call *it) {
    call **at = &c->calls;
    while (*at && *at != it) at = &(*at)->next;
    if (*at) *at = it->next;
    if (it->easy) {
        curl_multi_remove_handle(c->multi, it->easy);
        curl_easy_cleanup(it->easy);
    }
    fc_str_fini(&it->body);
    fc_str_fini(&it->answer);
    fc_free(it);
}

void http_client_close(http_client *c) {
    if (!c) return;
    while (c->calls) drop(c, c->calls);
    curl_slist_free_all(c->headers);
    if (c->multi) curl_multi_cleanup(c->multi);
    fc_free(c);
}

static size_t take(char *data, size_t one, size_t n, void *arg) {
    call *it = arg;
    if (n > ANSWER_MAX - it->answer.size || fc_str_put(&it->answer, data, one * n)) return 0;
    return n;
}

fc_status http_client_send(http_client *c, const char *url, const char *body, size_t size, int tag) {
    call *it;
    bool set;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *it, "HTTP request", &p));
    it = p;
    it->tag = tag;
    it->next = c->calls;
    c->calls = it;
    it->easy = curl_easy_init();
    set = it->easy && (!body || fc_str_put(&it->body, body, size) == FC_OK);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_URL, url);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set = set && !curl_easy_setopt(it->easy, CURLOPT_HTTPHEADER, c->headers);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_WRITEFUNCTION, take);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_WRITEDATA, (void *)it);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_ERRORBUFFER, it->error);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_PRIVATE, (void *)it);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_NOSIGNAL, 1L);
    set = set && !curl_easy_setopt(it->easy, CURLOPT_TCP_NODELAY, 1L);
    if (set && body) {
        set = !curl_easy_setopt(it->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
        set = set && !curl_easy_setopt(it->easy, CURLOPT_POSTFIELDS, fc_str_text(&it->body));
    }
    if (!set || curl_multi_add_handle(c->multi, it->easy)) {
        drop(c, it);
        return failed(url, "libcurl takes no such request");
    }
    return FC_OK;
}

/* What ended, out of *it; which is gone then. */
static void finish(http_client *c, call *it, CURLcode code, http_answer *out) {
    long status = 0;
    *out = (http_answer){.tag = it->tag};
    if (!it->dropped && code == CURLE_OK) curl_easy_getinfo(it->easy, CURLINFO_RESPONSE_CODE, &status);
    out->status = (int)status;
    if (!status) {
        const char *why = it->error[0] ? it->error : curl_easy_strerror(code);
        snprintf(out->error, sizeof out->error, "%.199s", it->dropped ? "given up" : why);
    }
    out->body = it->answer.data;
    out->size = it->answer.size;
    it->answer = (fc_str){0};
    drop(c, it);
}

static bool ended(http_client *c, http_answer *out) {
    int left;
    CURLMsg *m;
    for (call *it = c->calls; it; it = it->next)
        if (it->dropped) {
            finish(c, it, CURLE_OK, out);
            return true;
        }
    while ((m = curl_multi_info_read(c->multi, &left))) {
        char *p = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
        finish(c, (call *)(void *)p, m->data.result, out);
        return true;
    }
    return false;
}

fc_status http_client_wait(http_client *c, int timeout_ms, http_answer *out) {
    const uint64_t until = fc_clock_ns() + (uint64_t)timeout_ms * 1000000;
    for (;;) {
        int running, left = 0;
        CURLMcode code = curl_multi_perform(c->multi, &running);
        uint64_t now = fc_clock_ns();
        if (code) return failed("HTTP", curl_multi_strerror(code));
        if (ended(c, out)) return FC_OK;
        if (now < until) left = (int)((until - now) / 1000000);
        if (now >= until) return FC_ERR_TIMEOUT;
        code = curl_multi_poll(c->multi, NULL, 0, left, NULL);
        if (code) return failed("HTTP", curl_multi_strerror(code));
    }
}

void http_client_cancel(http_client *c) {
    for (call *it = c->calls; it; it = it->next) it->dropped = true;
}
