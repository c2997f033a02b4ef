/* status - the one error convention: a code, and one sentence recorded at the cause.
 *
 * Every function that can fail returns fc_status; 0 is OK. The sentence belongs to the
 * calling thread and stays until that thread's next failure. Out-parameters are written
 * only on FC_OK.
 */
#ifndef FC_BASE_STATUS_H
#define FC_BASE_STATUS_H

/* Published in engine/forkcast.h too, word for word: test_status.c holds the two against each other. */
#ifndef FC_STATUS_DEFINED
#define FC_STATUS_DEFINED
typedef enum {
    FC_OK = 0,
    FC_ERR_ARG,         /* the caller's argument or request is wrong          */
    FC_ERR_FORMAT,      /* a file or text does not follow its format          */
    FC_ERR_IO,          /* the operating system refused                       */
    FC_ERR_MEM,         /* host or device memory is not to be had             */
    FC_ERR_FULL,        /* a bounded resource is used up; may succeed later   */
    FC_ERR_UNSUPPORTED, /* understood, but this build or model cannot do it   */
    FC_ERR_CANCELLED,   /* the request was cancelled                          */
    FC_ERR_TIMEOUT,     /* nothing arrived in the time given                  */
    FC_ERR_INTERNAL     /* our own bug, reported instead of a crash           */
} fc_status;
#endif

const char *fc_status_name(fc_status st); /* "FC_ERR_ARG"; static storage */

/* The sentence of this thread's last failure, "" if none; borrowed until the next failure. */
const char *fc_status_text(void);

/* Records the sentence (printf rules, cut at 1023 bytes). */
void fc_status_record(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The value is st itself, so that the compiler sees a failure where one is. */
#define FC_FAIL(st, ...) (fc_status_record(__VA_ARGS__), (st))

#define FC_TRY(call)                                                                                                   \
    do {                                                                                                               \
        fc_status fc_try_st_ = (call);                                                                                 \
        if (fc_try_st_) return fc_try_st_;                                                                             \
    } while (0)

#define FC_TRY_GOTO(st, call, label)                                                                                   \
    do {                                                                                                               \
        (st) = (call);                                                                                                 \
        if (st) goto label;                                                                                            \
    } while (0)

/* Our own bugs only, always on: prints file, line and condition, then aborts. */
void fc_assert_failed(const char *file, int line, const char *cond) __attribute__((noreturn));
#define FC_ASSERT(cond)                                                                                                \
    do {                                                                                                               \
        if (!(cond)) fc_assert_failed(__FILE__, __LINE__, #cond);                                                      \
    } while (0)

#endif
