/* text - UTF-8 and the byte alphabet: what every part of the tokenizer asks about characters.
 *
 * "Valid text" below means valid UTF-8.
 */
#ifndef FC_TOKENIZER_TEXT_H
#define FC_TOKENIZER_TEXT_H

#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FC_TEXT_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define FC_TEXT_META        "\xE2\x96\x81" /* U+2581, SentencePiece's visible space */

/* First code point of any bytes, size >= 1: its length, or 0 when the bytes are not UTF-8; then *bad is the length of
 * the part that one U+FFFD stands for (maximal subpart, as Python's errors="replace" and Rust's from_utf8_lossy cut
 * it). */
size_t fc_text_decode(const char *p, size_t size, uint32_t *cp, size_t *bad);
size_t fc_text_next(const char *p, uint32_t *cp); /* of valid text, not at its end: length of the code point */
size_t fc_text_prev(const char *p, size_t at);    /* of valid text, at > 0: where the code point before `at` begins */
size_t fc_text_write(uint32_t cp, char out[4]);   /* length; cp is a scalar value */
fc_status fc_text_put(fc_str *s, uint32_t cp);

bool fc_text_is_white(uint32_t cp);   /* White_Space */
bool fc_text_is_numeric(uint32_t cp); /* Nd, Nl, No  */
bool fc_text_is_word(uint32_t cp);    /* \w: letters, marks, digits, connectors, joiners */

/* GPT-2's alphabet: every byte has one printable code point. */
uint32_t fc_text_byte_rune(unsigned char b);
int fc_text_rune_byte(uint32_t cp); /* -1: not of the alphabet */

/* "<0x0A>" is 10; -1 for anything else. Upper-case hex digits only when strict. */
int fc_text_byte_piece(const char *text, size_t size, bool strict);

size_t fc_text_count(const char *text, size_t size, const char *what, size_t what_size); /* non-overlapping */

#endif
