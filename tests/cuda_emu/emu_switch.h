/* emu_switch - from one stack to another.
 *
 * switch_to leaves where this context goes on in *keep, and goes on at `to`: another one's, or a new one's. What the
 * ABI says a call keeps is kept, but for the floating-point control words, which nobody here changes: saving them is
 * most of what Boost's switch costs, and a warp of a kernel switches 31 times a shuffle. Boost's is for other
 * processors. */
#ifndef FC_EMU_SWITCH_H
#define FC_EMU_SWITCH_H

#include <stddef.h>
#include <stdint.h>

#ifndef __x86_64__
#include <boost/context/detail/fcontext.hpp>
#endif

namespace emu {

#ifdef __x86_64__

extern "C" void emu_switch_to(void **keep, void *to);
asm(R"(
.text
.globl emu_switch_to
.hidden emu_switch_to
.type emu_switch_to, @function
emu_switch_to:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch_to, .-emu_switch_to
)");

inline void switch_to(void **keep, void *to) { emu_switch_to(keep, to); }

/* main begins on the stack that ends at top, as if it had been called from nowhere; it never returns. */
inline void *new_context(unsigned char *top, size_t, void (*main)(void)) {
    void **at = (void **)((uintptr_t)top & ~(uintptr_t)15);
    *--at = nullptr; /* keeps main's frame aligned, and ends a debugger's walk */
    *--at = (void *)main;
    for (int i = 0; i < 6; i++) *--at = nullptr;
    return at;
}

#else

inline void switch_to(void **keep, void *to) {
    boost::context::detail::transfer_t back = boost::context::detail::jump_fcontext(to, keep);
    *(void **)back.data = back.fctx;
}

/* Boost gives the left context to the one that begins: it is put where the leaver keeps it, then main is called. */
inline void *new_context(unsigned char *top, size_t size, void (*main)(void)) {
    static void (*begin)(void);
    begin = main; /* the same for all */
    return boost::context::detail::make_fcontext(top, size, [](boost::context::detail::transfer_t from) {
        *(void **)from.data = from.fctx;
        begin();
    });
}

#endif

} // namespace emu

#endif
