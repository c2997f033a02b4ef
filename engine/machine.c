#include "engine/machine.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/status.h"
#include "engine/choose.h"
#include "kernels/cpu/roof.h"
#include "kernels/gpu_probe.h"

#include <stdio.h>
#include <string.h>

/* The value of "key : value" at the start of a line, or NULL. */
static const char *value_of(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, n) == 0) {
            const char *p = line + n;
            while (*p == ' ' || *p == '\t') p++;
            if (*p == ':') return p + 1;
        }
        if (!*line) break;
    }
    return NULL;
}

void fc_machine_cpu_name(const char *cpuinfo, char *out, size_t size) {
    static const char *const keys[] = {"model name", "Model", "Hardware"};
    const char *p = NULL;
    size_t n = 0;
    for (size_t i = 0; !p && i < sizeof keys / sizeof *keys; i++) p = value_of(cpuinfo, keys[i]);
    for (; p && *p && *p != '\n' && n + 1 < size; p++)
        if (*p != ' ' && *p != '\t') out[n++] = *p;
        else if (n && out[n - 1] != ' ') out[n++] = ' ';
    while (n && out[n - 1] == ' ') n--;
    if (n) out[n] = '\0';
    else snprintf(out, size, "unknown");
}

/* Files of /proc have no size, so that fc_file_read would see them as empty. The first processor's part is enough. */
static void read_cpu_name(char *out, size_t size) {
    char text[4096];
    size_t n = 0;
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (f) {
        n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
    }
    text[n] = '\0';
    fc_machine_cpu_name(text, out, size);
}

static fc_status measure(int threads, fc_machine *m) {
    fc_stream s;
    fc_roof r;
    fc_status st;
    FC_TRY(fc_cpu_stream_open(FC_CPU_AUTO, threads, 0, 0, &s));
    st = fc_roof_measure(s, &r);
    fc_cpu_stream_close(s);
    if (st) return st;
    m->read_gbs_dram = r.read_gbs_dram;
    m->read_gbs_cache = r.read_gbs_cache;
    m->gops_int8 = r.gops_int8;
    m->gflops_bf16 = r.gflops_bf16;
    m->gflops_f32 = r.gflops_f32;
    return FC_OK;
}

fc_status fc_machine_inspect(bool measured, int threads, fc_machine *out) {
    fc_machine m = {.cores = fc_cpu_count(), .ram_bytes = fc_ram_bytes()};
    fc_gpus g;
    if (!out) return FC_FAIL(FC_ERR_ARG, "fc_machine_inspect: no place for the answer");
    if (threads < 0 || threads > 1024)
        return FC_FAIL(FC_ERR_ARG, "threads: %d; 1 to 1024 are possible, 0 is all cores", threads);
    read_cpu_name(m.cpu_name, sizeof m.cpu_name);
    snprintf(m.cpu_level, sizeof m.cpu_level, "%s", fc_cpu_level_name(fc_cpu_best()));
    if (measured) FC_TRY(measure(threads, &m));
    fc_gpu_probe(&g);
    m.gpus = g.n;
    for (int i = 0; i < g.n; i++) {
        memcpy(m.gpu_names[i], g.name[i], sizeof m.gpu_names[i]);
        m.gpu_bytes[i] = g.bytes[i];
    }
    snprintf(m.backend, sizeof m.backend, "%s", fc_backend_auto(m.backend_why, sizeof m.backend_why));
    *out = m;
    return FC_OK;
}
