#include "kernels/cpu/cpu.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* __builtin_cpu_supports also asks whether the system saves the wide registers; not every compiler knows f16c. */
static bool has_avx2(void) {
    unsigned a, b, c, d;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

bool fc_cpu_has_vex_vnni(void) {
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}

static bool has_avxvnni(void) {
    return fc_cpu_has_vex_vnni() ||
           (has_avx2() && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl"));
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}

/* What the system saves of a thread's registers when it lets another one run. */
static uint64_t saved_states(void) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Tiles are saved in 8 KB that a thread has no room for until it uses them, so Linux wants to be asked, once a process
 * (Documentation/arch/x86/xstate.rst); asking again changes nothing. */
static fc_status check_amx(void) {
    enum { TILE_CONFIG = 17, TILE_DATA = 18, ASK_FOR_STATE = 0x1023 /* ARCH_REQ_XCOMP_PERM */ };
    const uint64_t tiles = (uint64_t)1 << TILE_CONFIG | (uint64_t)1 << TILE_DATA, saved = saved_states();
    unsigned a, b, c, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) d = 0;
    if (!(d & 1u << 24)) return FC_FAIL(FC_ERR_UNSUPPORTED, "cpu level amx asked for; this machine has no AMX-TILE");
    if (!(d & 1u << 25)) return FC_FAIL(FC_ERR_UNSUPPORTED, "cpu level amx asked for; this machine has no AMX-INT8");
    if ((saved & tiles) != tiles)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "cpu level amx asked for; the system saves no tiles: XCR0 is 0x%llx",
                       (unsigned long long)saved);
    if (syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "cpu level amx asked for; the kernel lets this process use no tiles: %s",
                       strerror(errno));
    return FC_OK;
}
#else
static bool has_avx2(void) { return false; }
static bool has_avx512(void) { return false; }
static bool has_avxvnni(void) { return false; }
bool fc_cpu_has_vex_vnni(void) { return false; }
static fc_status check_amx(void) {
    return FC_FAIL(FC_ERR_UNSUPPORTED, "cpu level amx asked for; this machine has no AMX-TILE");
}
#endif

fc_cpu_level fc_cpu_best(void) {
    if (has_avx512()) return FC_CPU_AVX512;
    if (has_avxvnni()) return FC_CPU_AVXVNNI;
    return has_avx2() ? FC_CPU_AVX2 : FC_CPU_PORTABLE;
}

fc_status fc_cpu_level_check(fc_cpu_level level) {
    fc_cpu_level best = fc_cpu_best(), vectors = level == FC_CPU_AMX ? FC_CPU_AVX512 : level;
    if (vectors > best)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "cpu level %s asked for; this machine has %s", fc_cpu_level_name(level),
                       fc_cpu_level_name(best));
    return level == FC_CPU_AMX ? check_amx() : FC_OK;
}

static const char *const level_names[] = {"auto",    "portable", "avx2",
                                          "avxvnni", "avx512",   "amx"}; /* in fc_cpu_level's order */
enum { N_LEVELS = sizeof level_names / sizeof level_names[0] };

const char *fc_cpu_level_name(fc_cpu_level l) { return (unsigned)l < N_LEVELS ? level_names[l] : "?"; }

fc_status fc_cpu_level_parse(const char *name, fc_cpu_level *out) {
    for (unsigned i = 0; i < N_LEVELS; i++)
        if (strcasecmp(name, level_names[i]) == 0) {
            *out = (fc_cpu_level)i;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "cpu level \"%s\"; it is auto, portable, avx2, avxvnni, avx512 or amx", name);
}

fc_status fc_cpu_stream_open(fc_cpu_level level, int threads, size_t workspace, size_t scratch, fc_stream *out) {
    fc_status st = FC_OK;
    fc_stream s;
    size_t all;
    void *p;
    if ((unsigned)level >= N_LEVELS) return FC_FAIL(FC_ERR_ARG, "cpu level %d", (int)level);
    FC_TRY(fc_cpu_level_check(level));
    if (threads < 0) return FC_FAIL(FC_ERR_ARG, "cpu: %d threads", threads);
    if (threads == 0) threads = fc_cpu_count();
    if (!fc_add(scratch, 63, &scratch) || !fc_mul(scratch & ~(size_t)63, (size_t)threads, &all))
        return FC_FAIL(FC_ERR_MEM, "cpu: scratch of %zu bytes for %d threads does not fit", scratch, threads);
    FC_TRY(fc_alloc(1, sizeof *s, "cpu stream", &p));
    s = p;
    s->level = level == FC_CPU_AUTO ? fc_cpu_best() : level;
    FC_TRY_GOTO(st, fc_pool_open(threads, &s->pool), fail);
    FC_TRY_GOTO(st, fc_pages_alloc(workspace, "cpu workspace", &p), fail);
    s->workspace = p;
    s->workspace_bytes = workspace;
    FC_TRY_GOTO(st, fc_pages_alloc(all, "cpu scratch", &p), fail);
    s->scratch = p;
    s->scratch_bytes = scratch & ~(size_t)63;
    *out = s;
    return FC_OK;
fail:
    fc_cpu_stream_close(s);
    return st;
}

void fc_cpu_stream_close(fc_stream s) {
    if (!s) return;
    if (s->scratch) fc_pages_free(s->scratch, s->scratch_bytes * (size_t)fc_pool_threads(s->pool));
    if (s->workspace) fc_pages_free(s->workspace, s->workspace_bytes);
    fc_region_leave(&s->weights);
    fc_pool_close(s->pool);
    fc_free(s);
}

fc_status fc_cpu_workspace(fc_stream s, size_t bytes, const char *what, void **out) {
    if (bytes > s->workspace_bytes)
        return FC_FAIL(FC_ERR_MEM, "%s: needs %zu bytes of workspace, %zu are reserved", what, bytes,
                       s->workspace_bytes);
    *out = s->workspace;
    return FC_OK;
}

fc_status fc_cpu_scratch(fc_stream s, size_t bytes, const char *what) {
    if (bytes > s->scratch_bytes)
        return FC_FAIL(FC_ERR_MEM, "%s: needs %zu bytes of scratch a thread, %zu are reserved", what, bytes,
                       s->scratch_bytes);
    return FC_OK;
}
