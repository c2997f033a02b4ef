/* emu_sanitize - what the sanitizers are told of fibres and of memory; without them, nothing.
 *
 * The emulator itself is built without TSan's instrumentation (FC_EMU_TSAN says that kernels have it): what it does on
 * behalf of a thread is said here in words.
 */
#ifndef FC_EMU_SANITIZE_H
#define FC_EMU_SANITIZE_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FC_EMU_ASAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FC_EMU_ASAN
#endif

#ifdef FC_EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
static inline void asan_close(const void *p, size_t n) { __asan_poison_memory_region(p, n); }
static inline void asan_open(const void *p, size_t n) { __asan_unpoison_memory_region(p, n); }
static inline void asan_leave(void **fake, const void *bottom, size_t size) {
    __sanitizer_start_switch_fiber(fake, bottom, size);
}
static inline void asan_arrive(void *fake, const void **bottom, size_t *size) {
    __sanitizer_finish_switch_fiber(fake, bottom, size);
}
#else
static inline void asan_close(const void *, size_t) {}
static inline void asan_open(const void *, size_t) {}
static inline void asan_leave(void **, const void *, size_t) {}
static inline void asan_arrive(void *, const void **, size_t *) {}
#endif

#ifdef FC_EMU_TSAN
#include <sanitizer/tsan_interface.h>
enum { TSAN_FIBRES = 1 };
extern "C" {
void __tsan_read_range(void *p, unsigned long n);
void __tsan_write_range(void *p, unsigned long n);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
}
static inline void *tsan_new(void) { return __tsan_create_fiber(0); }
static inline void tsan_delete(void *f) { __tsan_destroy_fiber(f); }
static inline void *tsan_here(void) { return __tsan_get_current_fiber(); }
static inline void tsan_become(void *f) { __tsan_switch_to_fiber(f, __tsan_switch_to_fiber_no_sync); }
static inline void tsan_release(void *object) { __tsan_release(object); }
static inline void tsan_acquire(void *object) { __tsan_acquire(object); }
static inline void tsan_reads(const void *p, size_t n) { __tsan_read_range((void *)p, n); }
static inline void tsan_writes(void *p, size_t n) { __tsan_write_range(p, n); }
static inline void tsan_call(void *from) { __tsan_func_entry(from); } /* the line in the kernel joins the report */
static inline void tsan_return(void) { __tsan_func_exit(); }
/* Between them C's own functions (memcpy, malloc), which TSan hears, are the emulator's business. */
static inline void tsan_quiet(void) {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
static inline void tsan_heard(void) {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
enum { TSAN_FIBRES = 0 };
static inline void *tsan_new(void) { return nullptr; }
static inline void tsan_delete(void *) {}
static inline void *tsan_here(void) { return nullptr; }
static inline void tsan_become(void *) {}
static inline void tsan_release(void *) {}
static inline void tsan_acquire(void *) {}
static inline void tsan_reads(const void *, size_t) {}
static inline void tsan_writes(void *, size_t) {}
static inline void tsan_call(void *) {}
static inline void tsan_return(void) {}
static inline void tsan_quiet(void) {}
static inline void tsan_heard(void) {}
#endif

#endif
