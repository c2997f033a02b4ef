/* device - marks inline functions that code on a GPU calls too: the same source on both sides. */
#ifndef FC_BASE_DEVICE_H
#define FC_BASE_DEVICE_H

#ifdef __CUDACC__
#define FC_DEVICE __host__ __device__
#else
#define FC_DEVICE
#endif

#endif
