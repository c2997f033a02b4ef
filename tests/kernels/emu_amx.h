/* emu_amx - AMX's byte tiles in plain C, as Intel's reference documents them: of this thread, one palette, 8 tiles of
 * at most 16 rows of 64 bytes. What the processor would refuse ends the program with a sentence.
 *
 * Two ways in: the functions, for code compiled against them; and traps, for the instructions themselves on a machine
 * that has none, whose illegal instructions are decoded and done here.
 */
#ifndef FC_TESTS_EMU_AMX_H
#define FC_TESTS_EMU_AMX_H

#include <stdbool.h>
#include <stddef.h>

void emu_tile_configure(const void *config); /* 64 bytes */
void emu_tile_release(void);
void emu_tile_load(int t, const void *p, ptrdiff_t stride);
void emu_tile_zero(int t);
void emu_tile_dot(int dst, int a, int b); /* TDPBSUD: a is signed, b unsigned */
void emu_tile_store(int t, void *p, ptrdiff_t stride);

bool emu_tile_in_use(void);        /* this thread has shaped tiles and not released them */
unsigned long emu_tile_dots(void); /* done by all threads so far */

/* From here to the end of the test (cmocka takes illegal instructions back then). */
void emu_tile_traps(void);

#endif
