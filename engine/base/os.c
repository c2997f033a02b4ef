#define _GNU_SOURCE
#include "engine/base/os.h"

#include "engine/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static fc_status open_regular(const char *path, int *fd, size_t *size) {
    struct stat st;
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: opening a FIFO must not hang */
    if (f < 0) return FC_FAIL(FC_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(f, &st) < 0) {
        int e = errno;
        close(f);
        return FC_FAIL(FC_ERR_IO, "%s: %s", path, strerror(e));
    }
    if (!S_ISREG(st.st_mode)) {
        close(f);
        return FC_FAIL(FC_ERR_IO, "%s: not a regular file", path);
    }
    *fd = f;
    *size = (size_t)st.st_size;
    return FC_OK;
}

fc_status fc_map_open(const char *path, fc_map *out) {
    int fd;
    size_t size;
    void *p = NULL;
    FC_TRY(open_regular(path, &fd, &size));
    if (size) {
        p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            int e = errno;
            close(fd);
            return FC_FAIL(FC_ERR_IO, "%s: cannot map %zu bytes: %s", path, size, strerror(e));
        }
    }
    close(fd);
    out->data = p;
    out->size = size;
    return FC_OK;
}

void fc_map_close(fc_map *m) {
    if (!m || !m->data) return;
    munmap((void *)(uintptr_t)m->data, m->size);
    m->data = NULL;
    m->size = 0;
}

fc_status fc_file_read(const char *path, size_t max, char **text, size_t *size) {
    int fd;
    size_t n, got = 0;
    char *buf;
    void *p;
    fc_status st;
    FC_TRY(open_regular(path, &fd, &n));
    if (n > max) {
        close(fd);
        return FC_FAIL(FC_ERR_FORMAT, "%s: %zu bytes; at most %zu are read", path, n, max);
    }
    st = fc_alloc(n + 1, 1, path, &p);
    if (st) {
        close(fd);
        return st;
    }
    buf = p;
    while (got < n) {
        ssize_t k = read(fd, buf + got, n - got);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            int e = errno;
            close(fd);
            fc_free(buf);
            return FC_FAIL(FC_ERR_IO, "%s: %s", path, strerror(e));
        }
        if (k == 0) break; /* the file shrank meanwhile: what was there is the text */
        got += (size_t)k;
    }
    close(fd);
    buf[got] = '\0';
    *text = buf;
    *size = got;
    return FC_OK;
}

bool fc_path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool fc_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

fc_status fc_path_beside(const char *file, const char *name, fc_str *out) {
    const char *slash = strrchr(file, '/');
    fc_str_clear(out);
    FC_TRY(fc_str_put(out, file, slash ? (size_t)(slash + 1 - file) : 0));
    return fc_str_puts(out, name);
}

bool fc_path_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

uint64_t fc_clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int fc_cpu_count(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? n : 1;
}

uint64_t fc_ram_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

fc_status fc_pages_alloc(size_t bytes, const char *what, void **out) {
    uint64_t have = fc_ram_bytes();
    void *p;
    if (have && bytes > have) /* else it fails when it is touched, by a signal */
        return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes; this machine has %llu", what, bytes, (unsigned long long)have);
    p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return FC_FAIL(FC_ERR_MEM, "%s: no memory for %zu bytes: %s", what, bytes, strerror(errno));
    *out = p;
    return FC_OK;
}

void fc_pages_free(void *p, size_t bytes) {
    if (p) munmap(p, bytes ? bytes : 1);
}
