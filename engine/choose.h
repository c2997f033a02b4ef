/* choose - the backend that an engine computes on. */
#ifndef FC_ENGINE_CHOOSE_H
#define FC_ENGINE_CHOOSE_H

#include "engine/gpus.h"
#include "kernels/cpu/backend_cpu.h"

typedef fc_status (*fc_backend_opener)(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out);

/* The one that o names, on these GPUs, of a model (none: GPU 0): "cpu"; "cuda", an error where library, driver or
 * device is missing; "auto" (NULL): cuda where a device answers, else cpu, for which fc_machine_inspect has the reason.
 * A device that answers and then fails is an error, never the CPU. opener not NULL: what it opens, for tests. The
 * caller closes. */
fc_status fc_backend_choose(const fc_engine_options *o, const fc_gpu_list *gpus, int threads,
                            const fc_op_limits *limits, fc_backend_opener opener, fc_backend **out);

/* Rows of one batch: max_rows, or, where that is 0, as many as fill such a backend; of tests' openers, the CPU's. On a
 * GPU fewer leave multiprocessors idle in the products of small models, and more hold up who decodes meanwhile. */
enum { FC_ROWS_CPU = 512, FC_ROWS_GPU = 1024 };
int fc_backend_rows(const fc_engine_options *o, const fc_gpu_list *gpus, fc_backend_opener opener);

/* What o.precise says of models on a backend of that name; another word than auto, true and false is an error. */
fc_status fc_backend_imprecise(const fc_engine_options *o, const char *backend, bool *out);

/* What auto would take on this machine, and why, as a clause. */
const char *fc_backend_auto(char *why, size_t size);

#endif
