/* An engine for plimsoll, as a plug-in: a small language model without weights, which looks things up in the conversation.
 *
 * What follows the last tokens is what followed them before: of the earlier places where the last token stood, the one that is
 * preceded by most of the same tokens, the latest of these. Where there is none, some token of the conversation follows. For
 * that each token has a cell in a block of the KV cache: the token, where it stood before, and a hash of all up to it. Finding
 * where it stood before is the expensive part, and what a session's kept blocks save the next turn. */
#ifndef LOOKUP_H
#define LOOKUP_H

#include "plimsoll.h"

enum { LOOKUP_BLOCK_TOKENS = 16, LOOKUP_STOPS = 16 };

/* How an engine is made. Zero takes the default. */
typedef struct {
    uint32_t context_length; /* most tokens of a conversation [1024] */
    uint32_t vocab_size;     /* ids are below this [1000] */
    uint32_t max_sequences;  /* requests that run at once [4] */
    uint32_t queue;          /* requests that may wait [8] */
    uint32_t step_us;        /* rests so long between two tokens, so that there is something to see [0] */
    uint64_t appetite;       /* asks for so many bytes more than a request's price: a fault, to be refused [0] */
} lookup_options;

/* The engine's functions. Its user_data is a lookup_options, which must live until it is loaded; NULL takes every default. */
plimsoll_engine_table lookup_table(void);

/* Bytes of one block of KV. */
uint64_t lookup_block_bytes(void);

#endif
