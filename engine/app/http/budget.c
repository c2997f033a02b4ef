#include "engine/app/http/budget.h"

#include "engine/base/status.h"

static bool add(http_budget *b, http_share s, size_t size, size_t most) {
    size_t used = atomic_load(&b->used);
    do {
        if (size > most || used > most - size) return false;
    } while (!atomic_compare_exchange_weak(&b->used, &used, used + size));
    atomic_fetch_add(&b->by[s], size);
    return true;
}

size_t http_budget_new(const http_budget *b) { return b->most - b->most / 8; }
bool http_budget_admit(http_budget *b, http_share s, size_t size) { return add(b, s, size, http_budget_new(b)); }
bool http_budget_take(http_budget *b, http_share s, size_t size) { return add(b, s, size, b->most); }

void http_budget_hold(http_budget *b, http_share s, size_t size) {
    atomic_fetch_add(&b->used, size);
    atomic_fetch_add(&b->by[s], size);
}

void http_budget_give(http_budget *b, http_share s, size_t size) {
    FC_ASSERT(atomic_fetch_sub(&b->by[s], size) >= size);
    FC_ASSERT(atomic_fetch_sub(&b->used, size) >= size);
}

bool http_budget_fits(const http_budget *b, size_t size) {
    const size_t used = atomic_load(&b->used), most = http_budget_new(b);
    return size <= most && used <= most - size;
}

size_t http_budget_used(const http_budget *b) { return atomic_load(&b->used); }
size_t http_budget_share(const http_budget *b, http_share s) { return atomic_load(&b->by[s]); }
