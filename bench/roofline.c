/* roofline - the machine's limits at one level of vector unit, as text or JSON: what speeds are held against.
 *
 *   roofline [--json] [--threads T] [--cpu auto|amx|avx512|avxvnni|avx2|portable]
 *
 * ridge: operations a byte from memory below which a kernel waits for memory, not for arithmetic.
 */
#include "kernels/cpu/roof.h"

#include "engine/base/os.h"
#include "engine/forkcast.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void) {
    fprintf(stderr, "usage: roofline [--json] [--threads T] [--cpu auto|amx|avx512|avxvnni|avx2|portable]\n");
    return 2;
}

static int failed(void) {
    fprintf(stderr, "roofline: %s\n", fc_status_text());
    return 1;
}

static void put_json(const char *cpu, fc_stream s, const fc_roof *r, double seconds) {
    printf("{\"cpu_name\":\"");
    for (const char *p = cpu; *p; p++)
        if (*p >= ' ' && *p != '"' && *p != '\\') putchar(*p);
    printf("\",\"cpu_level\":\"%s\",\"threads\":%d,\"read_gbs_dram\":%.3f,\"dram_bytes\":%zu,\"read_gbs_cache\":%.3f,"
           "\"gops_int8\":%.1f,\"gflops_bf16\":%.1f,\"gflops_f32\":%.1f,\"seconds\":%.2f}\n",
           fc_cpu_level_name(s->level), fc_pool_threads(s->pool), r->read_gbs_dram, r->dram_bytes, r->read_gbs_cache,
           r->gops_int8, r->gflops_bf16, r->gflops_f32, seconds);
}

static void put_text(const char *cpu, fc_stream s, const fc_roof *r, double seconds) {
    const struct {
        const char *name;
        double rate;
    } dots[] = {{"int8", r->gops_int8}, {"bf16", r->gflops_bf16}, {"f32", r->gflops_f32}};
    printf("%s, %s, %d threads\n", cpu, fc_cpu_level_name(s->level), fc_pool_threads(s->pool));
    printf("read   %8.1f GB/s from memory (%zu MiB)\n", r->read_gbs_dram, r->dram_bytes >> 20);
    printf("read   %8.1f GB/s from cache (64 MiB)\n", r->read_gbs_cache);
    for (size_t i = 0; i < sizeof dots / sizeof *dots; i++)
        printf("%-5s  %8.1f G/s, ridge %.0f a byte\n", dots[i].name, dots[i].rate, dots[i].rate / r->read_gbs_dram);
    printf("measured in %.2f s\n", seconds);
}

int main(int argc, char **argv) {
    bool json = false;
    int threads = 0;
    fc_cpu_level level = FC_CPU_AUTO;
    fc_machine m;
    fc_stream s;
    fc_roof r;
    uint64_t from;
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            long t = strtol(argv[++i], &end, 10);
            if (*end || t < 0 || t > 1024) return usage();
            threads = (int)t;
        } else if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc) {
            if (fc_cpu_level_parse(argv[++i], &level)) return failed();
        } else {
            return usage();
        }
    }
    if (fc_machine_inspect(false, threads, &m) || fc_cpu_stream_open(level, threads, 0, 0, &s)) return failed();
    from = fc_clock_ns();
    if (fc_roof_measure(s, &r)) {
        fc_cpu_stream_close(s);
        return failed();
    }
    (json ? put_json : put_text)(m.cpu_name, s, &r, (double)(fc_clock_ns() - from) * 1e-9);
    fc_cpu_stream_close(s);
    return 0;
}
