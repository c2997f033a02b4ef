/* util_places - places of the host's CUDA code where a failing call ends, and how often it did (FC_FAILS_HERE). */
#ifndef FC_TESTS_UTIL_PLACES_H
#define FC_TESTS_UTIL_PLACES_H

typedef struct {
    const char *file, *call; /* below kernels/; as it is written there */
    int line;
    unsigned times;
} place;

int places_count(void);
place places_at(int i); /* by file and line */

#endif
