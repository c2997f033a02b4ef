/* ranks - several backends of one kind as one: tensor parallelism, a thread for each rank
 *
 * Every operator goes to all ranks, with each rank's own memory and matrices, and they run it side by side. The caller
 * says what a rank has: it packs a part of a matrix for each (weight_pack takes the parts of all ranks), and gives
 * operators the shapes of one rank. What ranks exchange they exchange in `sum` and `join`, and inside heads whose
 * matrix is cut by rows (fc_weight.of).
 *
 * buffers  alloc takes as much on every rank; what it gives out is an address in no memory, by which a rank finds its
 *          own. upload fills all ranks alike, upload_to one; download reads rank 0
 * errors   of an operator come with the next mark or sync, whoever of the ranks had them. The others are told, so that
 *          nobody waits for a rank that failed: the batch fails, and the next one works; or, where devices wait for
 *          each other (NCCL) and only some ranks failed, all that come later fail too
 * threads  the caller's calls go into a ring, in which each rank's thread follows; who follows an idle ring sleeps
 */
#ifndef FC_KERNELS_RANKS_H
#define FC_KERNELS_RANKS_H

#include "kernels/backend.h"

/* Opens rank's own backend, whose stream has comm (NULL: there is one rank); called by the thread that will use it. */
typedef fc_status (*fc_rank_opener)(void *arg, int rank, fc_comm *comm, fc_backend **out);

/* comms [n] become the backend's, also on failure; n 1: comms may be NULL. Caller closes with fc_backend_close. */
fc_status fc_backend_open_ranks(int n, fc_comm *const *comms, fc_rank_opener opener, void *arg, fc_backend **out);

#endif
