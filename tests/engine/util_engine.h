/* util_engine - engines on small models for tests: tiny GGUF files made once a process, requests with one line each. */
#ifndef FC_TESTS_ENGINE_UTIL_ENGINE_H
#define FC_TESTS_ENGINE_UTIL_ENGINE_H

#include "engine/base/dtype.h"
#include "engine/engine.h"
#include "tests/util.h"
#include "weights_tools/tools.h"

/* Path of a tiny model of a family, made in a temporary folder that is removed at exit. reward: with a reward head. */
const char *tiny_model(const char *arch, uint64_t seed, bool reward);
/* The same with a vocabulary of V, and so with another tokenizer than the default's. */
const char *tiny_model_vocab(const char *arch, uint64_t seed, bool reward, int V);

/* The same with matrices in another type. */
const char *tiny_model_typed(const char *arch, uint64_t seed, fc_dtype type);

/* The same of any options; the last path of the same ones, if there was one. */
const char *tiny_model_of(const fc_tiny_options *o);

/* path: a copy of the F32 model at `from`, in which row `row` of a tensor (-1: all of it) holds v. The caller removes
 * it. */
void change_row(const char *from, const char *tensor, int row, float v, char path[160]);

/* What open_engine computes on instead of what options name; NULL, unless another file of the program sets it before
 * main: tests of engines run on other backends so. */
extern fc_backend_opener engine_opener;
/* Opens, or fails the test. */
fc_engine *open_engine(const fc_engine_options *o);

/* Milliseconds without an event after which an engine counts as stuck: an emulated step on a busy machine may take a
 * minute. */
enum { ENGINE_PATIENCE = 600000 };
/* Submits and waits; fails the test on an error. The event is to be finished by the caller. */
fc_event run_request(fc_engine *e, const fc_request *r);

/* A request of n candidates of a text prompt, to be changed by the caller. The prompt is borrowed. */
fc_request text_request(const char *prompt, int n, int max_tokens);

/* Same tokens and the same bits of log-probs and scores. what is printed when they differ. */
void assert_same_candidate(const char *what, const fc_candidate *a, const fc_candidate *b);

#endif
