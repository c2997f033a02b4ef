/* os - what is asked of the operating system: files, clock, cores, memory. */
#ifndef FC_BASE_OS_H
#define FC_BASE_OS_H

#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole file, mapped read-only. init with fc_map_open, undo with fc_map_close. */
typedef struct {
    const unsigned char *data; /* [size]; NULL when size == 0 */
    size_t size;
} fc_map;

fc_status fc_map_open(const char *path, fc_map *out); /* regular files only */
void fc_map_close(fc_map *m);                         /* NULL, zeroed and closed are fine */

/* A whole file in memory with a NUL behind; at most max bytes, else FC_ERR_FORMAT. fc_free frees. */
fc_status fc_file_read(const char *path, size_t max, char **text, size_t *size);

bool fc_path_is_dir(const char *path);
bool fc_path_exists(const char *path);
/* The path of `name` in the folder of `file`, in place of what is in out. */
fc_status fc_path_beside(const char *file, const char *name, fc_str *out);
bool fc_path_same(const char *a, const char *b); /* one file or folder under two names */

uint64_t fc_clock_ns(void); /* monotonic */
int fc_cpu_count(void);     /* cores this process may use, >= 1 */
uint64_t fc_ram_bytes(void);

/* Zeroed pages straight from the system, touched only when used; never more than the machine has. what names them in
 * the error. */
fc_status fc_pages_alloc(size_t bytes, const char *what, void **out);
void fc_pages_free(void *p, size_t bytes);

#endif
