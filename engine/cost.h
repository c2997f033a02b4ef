/* cost - how long a machine should take for a model's passes, predicted from shapes: nothing is loaded or computed.
 *
 * Rows, items of attention and batches are the engine's own: a plan is made by engine/batch.c over a KV pool that has
 * no memory. A kernel's time is its launches, and the longest of: bytes through memory, bytes through the cache,
 * operations of each unit, at that part of the machine's peak that its kind of kernel reached on an H100. Kernels
 * follow one another. Where draws agree (coalescing, names of a taxonomy) is not known: the caller says how many
 * distinct rows a step has. A door: engine/app may include this file.
 */
#ifndef FC_ENGINE_COST_H
#define FC_ENGINE_COST_H

#include "kernels/load.h"

enum { FC_COST_PARTS = 12, FC_COST_SAMPLES = 17 /* steps of a candidate that are planned; others lie between */ };

/* Peaks, and what is assumed that kernels reach of them. */
typedef struct {
    char name[24], about[160];
    bool gpu;
    double memory_gbs, cache_gbs;
    double tops[FC_UNITS]; /* 10^12 operations a second, dense; 0: the unit is not there */
    fc_load_device device;
    double launch_us, pass_us; /* between kernels that follow one another; of a pass: plan, lists, what is read back */
    double unit_us,
        tile_us; /* of attention: what a unit waits for before its first tile and behind its last, and a tile */
    double reach_memory, reach_cache, reach_product, reach_warpgroups, reach_chained, reach_library, reach_attn,
        reach_f32;
} fc_cost_machine;

size_t fc_cost_gpus(void);
const fc_cost_machine *fc_cost_gpu_at(size_t i);
/* A GPU by name; cpu: this machine, measured, about a second. threads 0: all cores. */
fc_status fc_cost_machine_find(const char *name, int threads, fc_cost_machine *out);
/* The same from rates that were measured: GB/s, 10^9 operations a second. */
void fc_cost_machine_cpu(double memory_gbs, double cache_gbs, double gops_int8, double gflops_bf16, double gflops_f32,
                         int threads, fc_cost_machine *out);
/* Rows of a batch on such a machine, where nobody says. */
int fc_cost_rows(const fc_cost_machine *m);
/* Where peaks and reaches come from, a line each; gpu: of the named ones. */
const char *fc_cost_sources(bool gpu);

typedef struct fc_cost_model fc_cost_model; /* one model's shapes and types */

typedef struct {
    const char *path;         /* a file, or like:NAME[:TYPE] */
    const char *weights;      /* bf16, fp8, int8, int4: instead of the types of its matrices; NULL: those */
    const char *kv_type;      /* NULL: the engine's choice */
    int max_rows, page_slots; /* 0: the engine's on a CPU */
    bool variant;             /* not batch-invariant: cuBLASLt for many rows of bf16 */
    bool imprecise;           /* what fc_engine_options.precise comes to */
    bool filtered;            /* draws by top-p or alike: logits in memory; else by the head */
} fc_cost_options;

/* Reads the head of the file alone. Strings are read during the call. */
fc_status fc_cost_model_open(const fc_cost_options *o, fc_cost_model **out);
void fc_cost_model_close(fc_cost_model *m);                                   /* NULL is fine */
double fc_cost_model_bytes(const fc_cost_model *m, const fc_cost_machine *c); /* of packed matrices */
double fc_cost_model_kv_bytes(const fc_cost_model *m);                        /* of a position, all layers */

/* Requests at once, alike: n candidates of so many tokens behind a prompt of their own. */
typedef struct {
    int requests, prompt, tokens, n;
    int rows;      /* distinct rows of a request's step, at most n; 0: n */
    bool unshared; /* each candidate has the whole prompt as pages of its own */
} fc_cost_job;

typedef struct {
    const char *name; /* of a kernel, or of a matrix that linear multiplies */
    double seconds;
    double floor; /* least bytes and operations at the peaks */
    fc_load load;
} fc_cost_part;

typedef struct {
    double seconds, floor;
    double passes, rows, launches;
    fc_cost counted; /* what fc_engine_count says of the same passes */
    fc_cost_part parts[FC_COST_PARTS];
    int n_parts;
} fc_cost_time;

/* All prompts, and the first draw. */
fc_status fc_cost_prefill(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, fc_cost_time *out);
/* One step of all candidates, which have so many tokens then, the one that is computed included. */
fc_status fc_cost_step(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, int tokens,
                       fc_cost_time *out);
/* All steps behind the first draw. */
fc_status fc_cost_decode(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, fc_cost_time *out);
/* All candidates scored by their log-likelihood behind their prompts, which are computed too unless `cached`. */
fc_status fc_cost_score(const fc_cost_model *m, const fc_cost_machine *c, const fc_cost_job *j, bool cached,
                        fc_cost_time *out);

/* The description of a GPU by what its driver calls it; false: there is none. */
bool fc_cost_machine_of_device(const char *device, fc_cost_machine *out);
/* Seconds of one call, attn's or a product's. */
double fc_cost_call(const fc_cost_machine *c, bool attention, const fc_load *l);
/* The same on the CPU: attn's or a product's, of which a matrix or KV of so many bytes comes from memory. */
double fc_cost_call_cpu(const fc_cost_machine *c, bool attention, fc_cost k, fc_unit u, double from_memory);

/* The longest of its kinds of time: "memory", "cache", "waits", "f32", "bf16", "int8", "fp8", "launches". */
const char *fc_cost_bound(const fc_cost_machine *c, const fc_cost_part *p);

#endif
