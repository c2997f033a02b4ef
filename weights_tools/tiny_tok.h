/* tiny_tok - the tokenizer of a random model: byte-level BPE with English-like pieces.
 *
 * Ids 0 to 2 are <|endoftext|> (BOS), <|im_start|> and <|im_end|> (EOS), then the 256 bytes, then one token a merge. It
 * depends on V alone, so that two random models of one V have the same tokenizer whatever their seeds.
 */
#ifndef FC_WEIGHTS_TINY_TOK_H
#define FC_WEIGHTS_TINY_TOK_H

#include "weights_tools/gguf_write.h"

enum { FC_TINY_MIN_V = 300, FC_TINY_BOS = 0, FC_TINY_EOS = 2 };

/* All keys tokenizer.*; V >= FC_TINY_MIN_V. */
fc_status fc_tiny_tok_write(fc_gguf_write *w, int V);

#endif
