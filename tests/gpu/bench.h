/* bench - operators on a device against its clock: calls in a row between two events, over buffers that take turns, so
 * that what a call reads is not what the last one left in L2.
 *
 * Each bench_<op>.c, where kernels/<op>/<op>.cu exists, is one step of tests/gpu.sh bench; bench_roof.cu is the first,
 * bench_gap.c the last.
 * Its cases are lines of JSON: case, seconds of one call for each batch of calls, bytes and flops of a call, and what
 * the cost model predicts where it describes the device and the operator.
 */
#ifndef FC_TESTS_GPU_BENCH_H
#define FC_TESTS_GPU_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/kernel.h"

enum { BENCH_COLD = 160 << 20 }; /* bytes that buffers of one role have together: three times the largest L2 */

typedef struct {
    fc_stream s;
    FILE *lines; /* NULL: none are written */
    const char *op;
    char device[256]; /* as the driver calls it */
    double predicted; /* seconds of the next call that is timed, by engine/cost.h; 0: nobody says */
} bench;

/* The turn'th call; buffers are numbered turn % copies. */
typedef fc_status (*bench_call)(void *self, fc_stream s, int turn);

/* Times a call and tells of it; what: members of a JSON object. A call that fails ends the program. */
void bench_time(bench *b, const char *what, fc_cost cost, bench_call call, void *self);

/* A point in the stream that takes the device's time: made where *event is NULL, and kept. Seconds from one to a later
 * one. */
void bench_record(fc_stream s, void **event);
double bench_between(void *from, void *to);

/* Ends the program with the recorded sentence. */
void bench_must(fc_status st, const char *what);

/* How many buffers of so many bytes are cold together: 1 .. most. */
int bench_copies(size_t bytes, int most);

/* Host memory of random bytes, of numbers around zero (std 1); device memory of the latter. The caller frees. */
void *bench_bytes(size_t n, uint64_t seed);
float *bench_normals(size_t n, uint64_t seed);
float *bench_device_normals(fc_stream s, size_t n, uint64_t seed);

/* out [n] f32 on the device: ends the program where an element is NaN, as an unwritten one is. */
void bench_written(fc_stream s, const void *out, size_t n, const char *what);

/* tests/cuda_emu/util_device.cpp */
void *device_copy(fc_stream s, const void *host, size_t bytes);
void device_read(fc_stream s, void *host, const void *device, size_t bytes);
void device_free(void *device);
fc_stream device_stream(size_t workspace);
fc_stream device_stream_variant(size_t workspace);
void device_close(fc_stream s);
fc_status device_sync(fc_stream s);

#ifdef __cplusplus
}
#endif

#endif
