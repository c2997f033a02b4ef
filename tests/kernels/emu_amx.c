#define _GNU_SOURCE
#include "tests/kernels/emu_amx.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

static _Thread_local struct {
    bool configured;
    int rows[TILES], row_bytes[TILES];
    uint8_t tile[TILES][ROWS][ROW_BYTES];
} unit;

static atomic_ulong dots;

static _Noreturn void refuse(const char *words, ...) {
    va_list a;
    va_start(a, words);
    vfprintf(stderr, words, a);
    va_end(a);
    fputc('\n', stderr);
    abort();
}

void emu_tile_configure(const void *config) {
    const uint8_t *c = config;
    memset(&unit, 0, sizeof unit);
    if (c[0] == 0) return;
    if (c[0] != 1 || c[1] != 0) refuse("ldtilecfg: palette %d, start row %d", c[0], c[1]);
    for (int i = 2; i < 16; i++)
        if (c[i]) refuse("ldtilecfg: reserved byte %d is %d", i, c[i]);
    for (int t = 0; t < 16; t++) {
        int bytes = c[16 + 2 * t] | c[17 + 2 * t] << 8, rows = c[48 + t];
        if (t >= TILES && (bytes || rows)) refuse("ldtilecfg: tile %d", t);
        if (bytes > ROW_BYTES || rows > ROWS || !bytes != !rows)
            refuse("ldtilecfg: tile %d of %d rows of %d bytes", t, rows, bytes);
        if (t >= TILES) continue;
        unit.rows[t] = rows;
        unit.row_bytes[t] = bytes;
    }
    unit.configured = true;
}

void emu_tile_release(void) { memset(&unit, 0, sizeof unit); }

static void check(int t) {
    if (!unit.configured || !unit.rows[t]) refuse("tile %d has no shape", t);
}

void emu_tile_zero(int t) {
    check(t);
    memset(unit.tile[t], 0, sizeof unit.tile[t]);
}

void emu_tile_load(int t, const void *p, ptrdiff_t stride) {
    emu_tile_zero(t);
    for (int r = 0; r < unit.rows[t]; r++)
        memcpy(unit.tile[t][r], (const uint8_t *)p + r * stride, (size_t)unit.row_bytes[t]);
}

void emu_tile_store(int t, void *p, ptrdiff_t stride) {
    check(t);
    for (int r = 0; r < unit.rows[t]; r++)
        memcpy((uint8_t *)p + r * stride, unit.tile[t][r], (size_t)unit.row_bytes[t]);
}

void emu_tile_dot(int dst, int a, int b) {
    if (dst == a || dst == b || a == b) refuse("tdpbsud: tiles %d, %d, %d", dst, a, b);
    check(dst), check(a), check(b);
    if (unit.row_bytes[dst] % 4 || unit.row_bytes[a] % 4 || unit.rows[dst] != unit.rows[a] ||
        unit.row_bytes[dst] != unit.row_bytes[b] || unit.row_bytes[a] / 4 != unit.rows[b])
        refuse("tdpbsud: %dx%d += %dx%d * %dx%d", unit.rows[dst], unit.row_bytes[dst], unit.rows[a], unit.row_bytes[a],
               unit.rows[b], unit.row_bytes[b]);
    for (int m = 0; m < unit.rows[dst]; m++)
        for (int n = 0; n < unit.row_bytes[dst] / 4; n++) {
            uint32_t sum;
            memcpy(&sum, unit.tile[dst][m] + 4 * n, 4);
            for (int k = 0; k < unit.row_bytes[a] / 4; k++)
                for (int i = 0; i < 4; i++)
                    sum += (uint32_t)((int8_t)unit.tile[a][m][4 * k + i] * (int)unit.tile[b][k][4 * n + i]);
            memcpy(unit.tile[dst][m] + 4 * n, &sum, 4);
        }
    atomic_fetch_add(&dots, 1);
}

bool emu_tile_in_use(void) { return unit.configured; }

unsigned long emu_tile_dots(void) { return atomic_load(&dots); }

/* ---- traps: VEX in three bytes, map 0F38, one operand in memory at most */

typedef struct {
    const uint8_t *at; /* of the instruction; then behind it */
    const greg_t *regs;
    int reg, rm, vvvv, mod; /* rm: a tile where mod is 3 */
    uintptr_t address;
    ptrdiff_t stride;
} operands;

static int64_t number(const greg_t *regs, int i) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return regs[order[i]];
}

static int64_t displacement(operands *o, int bytes) {
    int8_t one;
    int32_t four = 0;
    memcpy(&one, o->at, 1);
    if (bytes == 4) memcpy(&four, o->at, 4);
    o->at += bytes;
    return bytes == 4 ? four : one;
}

/* A row of a tile lies at address + row * stride; LDTILECFG's operand is its row 1. */
static operands decode(const uint8_t *at, const greg_t *regs) {
    operands o = {.at = at + 5, .regs = regs, .reg = at[4] >> 3 & 7, .rm = at[4] & 7, .mod = at[4] >> 6};
    int x = at[1] & 0x40 ? 0 : 8, b = at[1] & 0x20 ? 0 : 8;
    int64_t base = 0;
    o.vvvv = ~at[2] >> 3 & 15;
    if (o.mod == 3) return o;
    if (o.rm == 4) {
        int sib = *o.at++, index = (sib >> 3 & 7) + x;
        if (index != 4) o.stride = (ptrdiff_t)number(regs, index) * (1 << (sib >> 6));
        if ((sib & 7) == 5 && o.mod == 0) base = displacement(&o, 4);
        else base = number(regs, (sib & 7) + b);
    } else if (o.rm == 5 && o.mod == 0) {
        base = displacement(&o, 4);
        base += (int64_t)(intptr_t)o.at;
    } else {
        base = number(regs, o.rm + b);
    }
    if (o.mod) base += displacement(&o, o.mod == 1 ? 1 : 4);
    o.address = (uintptr_t)base;
    return o;
}

static bool done(const operands *o, int opcode, int prefix) {
    enum { NONE, P66, F3, F2 };
    void *p = (void *)o->address;
    bool memory = o->mod != 3;
    switch (opcode << 4 | prefix) {
    case 0x49 << 4 | NONE:
        if (memory) emu_tile_configure((uint8_t *)p + o->stride);
        else emu_tile_release();
        break;
    case 0x49 << 4 | F2: emu_tile_zero(o->reg); break;
    case 0x4b << 4 | F2: emu_tile_load(o->reg, p, o->stride); break;
    case 0x4b << 4 | F3: emu_tile_store(o->reg, p, o->stride); break;
    case 0x5e << 4 | F3: emu_tile_dot(o->reg, o->rm, o->vvvv); break;
    default: return false;
    }
    return true;
}

static void trapped(int signal_number, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)regs[REG_RIP];
    operands o = decode(at, regs);
    (void)info;
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || at[2] & 0x84 || !done(&o, at[3], at[2] & 3)) {
        signal(signal_number, SIG_DFL); /* not ours: it happens again, for good */
        return;
    }
    regs[REG_RIP] = (greg_t)o.at;
}

void emu_tile_traps(void) {
    struct sigaction a = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGILL, &a, NULL)) refuse("sigaction failed");
}
