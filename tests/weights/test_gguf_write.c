/* The writer of GGUF: what goes in comes out of the reader, and a file is whole or not there. */
#define _GNU_SOURCE
#include "tests/util.h"

#include "engine/base/os.h"
#include "tests/weights/util_gguf.h"
#include "weights_tools/gguf.h"
#include "weights_tools/gguf_write.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Entries of the test's folder: a partial file that stays would be one too many. */
static int entries(void) {
    DIR *d = opendir(gg_folder());
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static fc_gguf_write *writer(const char *path) {
    fc_gguf_write *w = NULL;
    assert_ok(fc_gguf_write_open(path, NULL, &w));
    return w;
}

/* A file with one tensor of n bytes in rows of 32 int8. */
static fc_status write_bytes(fc_gguf_write *w, size_t n) {
    static const unsigned char zeros[4096];
    FC_TRY(fc_gguf_write_tensor(w, "t", FC_I8, 2, (int64_t)n / 32, 32));
    FC_TRY(fc_gguf_write_start(w, NULL, NULL));
    for (size_t i = 0; i < n; i += 4096) FC_TRY(fc_gguf_write_data(w, zeros, n - i < 4096 ? n - i : 4096));
    return fc_gguf_write_finish(w);
}

static void every_kind_of_metadata_comes_back(void **state) {
    const char *path = gg_path("meta.gguf");
    const int32_t ints[] = {-5, 0, 2147483647};
    const float floats[] = {0.5f, -1e30f};
    const bool bools[] = {true, false, true};
    const uint8_t bytes[] = {0, 255};
    const fc_view_str strings[] = {{"a\0b", 3}, {"", 0}, {"\xC4\xA0the", 5}};
    fc_view_str read[3];
    int32_t read_ints[3];
    float read_floats[2];
    fc_gguf_write *w = writer(path);
    fc_map map;
    fc_gguf g;
    (void)state;
    assert_ok(fc_gguf_write_u32(w, "u32", 4000000000u));
    assert_ok(fc_gguf_write_f32(w, "f32", 1e-5f));
    assert_ok(fc_gguf_write_bool(w, "yes", true));
    assert_ok(fc_gguf_write_string(w, "string", "x\0y", 3));
    assert_ok(fc_gguf_write_strings(w, "strings", strings, 3));
    assert_ok(fc_gguf_write_i32s(w, "ints", ints, 3));
    assert_ok(fc_gguf_write_f32s(w, "floats", floats, 2));
    assert_ok(fc_gguf_write_bools(w, "bools", bools, 3));
    assert_ok(fc_gguf_write_u8s(w, "bytes", bytes, 2));
    assert_ok(fc_gguf_write_strings(w, "none", strings, 0));
    /* as another file stores it: a key of two bytes, type 11 (a 64-bit integer), value -2 */
    assert_ok(fc_gguf_write_entry(w, "\2\0\0\0\0\0\0\0zz\x0b\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff", 22));
    assert_ok(fc_gguf_write_start(w, NULL, NULL));
    assert_ok(fc_gguf_write_finish(w));
    fc_gguf_write_close(w);

    assert_ok(fc_map_open(path, &map));
    assert_ok(fc_gguf_parse(path, map.data, map.size, &g));
    assert_int_equal(g.n_meta, 11);
    assert_int_equal(fc_gguf_find(&g, "u32")->value.i, 4000000000);
    assert_true((float)fc_gguf_find(&g, "f32")->value.f == 1e-5f);
    assert_int_equal(fc_gguf_find(&g, "yes")->value.kind, FC_META_BOOL);
    assert_int_equal(fc_gguf_find(&g, "yes")->value.i, 1);
    assert_int_equal(fc_gguf_find(&g, "string")->value.s.size, 3);
    assert_memory_equal(fc_gguf_find(&g, "string")->value.s.text, "x\0y", 3);
    assert_int_equal(fc_gguf_find(&g, "zz")->value.i, -2);
    assert_int_equal(fc_gguf_find(&g, "none")->value.count, 0);
    assert_ok(fc_gguf_strings(&g, "strings", read, 3));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read[i].size, strings[i].size);
        assert_memory_equal(read[i].text, strings[i].text, strings[i].size);
    }
    assert_ok(fc_gguf_ints(&g, "ints", read_ints, 3));
    assert_memory_equal(read_ints, ints, sizeof ints);
    assert_ok(fc_gguf_floats(&g, "floats", read_floats, 2));
    assert_memory_equal(read_floats, floats, sizeof floats);
    assert_ok(fc_gguf_ints(&g, "bools", read_ints, 3));
    assert_true(read_ints[0] == 1 && read_ints[1] == 0 && read_ints[2] == 1);
    assert_int_equal(fc_gguf_find(&g, "bools")->value.elem, FC_META_BOOL);
    assert_ok(fc_gguf_ints(&g, "bytes", read_ints, 2));
    assert_int_equal(read_ints[1], 255);
    fc_gguf_fini(&g);
    fc_map_close(&map);
}

/* Every type at an aligned place with its own bytes, however the bytes are cut on their way in. */
static void tensors_of_every_type_come_back(void **state) {
    const char *path = gg_path("tensors.gguf");
    fc_gguf_write *w = writer(path);
    fc_str data = {0};
    fc_map map;
    fc_gguf g;
    uint64_t seed = 11;
    size_t at = 0;
    (void)state;
    assert_fails(fc_gguf_write_tensor(w, "x", FC_Q4_W, 1, 1, 256), FC_ERR_UNSUPPORTED, "Q4_W is no type of GGUF");
    for (int t = 0; t < FC_I64; t++) { /* of which files are made */
        size_t row;
        int64_t N = t % 2 ? 3 : 1, K = fc_dtype_block((fc_dtype)t) == 1 ? 7 : 256;
        assert_ok(fc_dtype_row_bytes((fc_dtype)t, (size_t)K, &row));
        assert_ok(fc_gguf_write_tensor(w, fc_dtype_name((fc_dtype)t), (fc_dtype)t, N == 1 ? 1 : 2, N, K));
        for (size_t i = 0; i < row * (size_t)N; i++) {
            char byte = (char)fc_rng_next(&seed);
            gg_put(&data, &byte, 1);
        }
    }
    assert_ok(fc_gguf_write_start(w, NULL, NULL));
    while (at < data.size) {
        size_t n = fc_rng_next(&seed) % 600;
        if (n > data.size - at) n = data.size - at;
        assert_ok(fc_gguf_write_data(w, data.data + at, n));
        at += n;
    }
    assert_ok(fc_gguf_write_finish(w));
    fc_gguf_write_close(w);

    assert_ok(fc_map_open(path, &map));
    assert_ok(fc_gguf_parse(path, map.data, map.size, &g));
    assert_int_equal(g.n_tensors, FC_I64);
    assert_int_equal(g.data_offset % 32, 0);
    at = 0;
    for (int t = 0; t < FC_I64; t++) {
        const fc_tensor *x = &g.tensors[t];
        assert_string_equal(x->name, fc_dtype_name((fc_dtype)t));
        assert_int_equal(x->dtype, t == FC_F8 ? FC_I8 : t); /* GGUF has no F8 */
        assert_int_equal(x->n_dims, t % 2 ? 2 : 1);
        assert_int_equal(x->N, t % 2 ? 3 : 1);
        assert_int_equal((uintptr_t)x->data % 32, 0);
        assert_memory_equal(x->data, data.data + at, x->bytes);
        at += x->bytes;
    }
    assert_int_equal(at, data.size);
    assert_int_equal(map.size % 32, 0); /* the last tensor is padded too */
    fc_gguf_fini(&g);
    fc_map_close(&map);
    fc_str_fini(&data);
}

typedef struct {
    uint64_t calls, last, total;
} heard;

static void hear(void *arg, uint64_t done, uint64_t total) {
    heard *h = arg;
    assert_true(done > h->last && done <= total);
    h->last = done;
    h->total = total;
    h->calls++;
}

static void progress_ends_at_the_total(void **state) {
    static const unsigned char zeros[1000];
    fc_gguf_write *w = writer(gg_path("progress.gguf"));
    heard h = {0};
    (void)state;
    assert_ok(fc_gguf_write_tensor(w, "t", FC_I8, 2, 5000, 1000)); /* 5 MB */
    assert_ok(fc_gguf_write_start(w, hear, &h));
    for (int i = 0; i < 5000; i++) assert_ok(fc_gguf_write_data(w, zeros, sizeof zeros));
    assert_ok(fc_gguf_write_finish(w));
    fc_gguf_write_close(w);
    assert_int_equal(h.last, 5000000);
    assert_int_equal(h.total, 5000000);
    assert_true(h.calls >= 4 && h.calls <= 6);
    unlink(gg_path("progress.gguf"));
}

/* The old file stays until the new one is whole. */
static void a_file_is_replaced_at_the_end(void **state) {
    const char *path = gg_path("replaced.gguf");
    fc_gguf_write *w;
    struct stat st;
    int before;
    (void)state;
    gg_write(path, "old", 3);
    before = entries();
    w = writer(path);
    assert_int_equal(entries(), before + 1);
    assert_ok(fc_gguf_write_tensor(w, "t", FC_F32, 1, 1, 4));
    assert_ok(fc_gguf_write_start(w, NULL, NULL));
    assert_fails(fc_gguf_write_finish(w), FC_ERR_INTERNAL, "0 of 1 tensors");
    fc_gguf_write_close(w); /* not finished: nothing happened */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(entries(), before);
    w = writer(path);
    assert_ok(write_bytes(w, 64));
    fc_gguf_write_close(w);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 64);
    assert_int_equal(entries(), before);
}

static void wrong_outputs_are_refused(void **state) {
    fc_gguf_write *w = NULL;
    char other[256], partial[300];
    int before;
    (void)state;
    gg_write(gg_path("input.gguf"), "in", 2);
    snprintf(other, sizeof other, "%s/./input.gguf", gg_folder());
    before = entries();
    assert_fails(fc_gguf_write_open(other, gg_path("input.gguf"), &w), FC_ERR_ARG, "the input itself");
    assert_int_equal(symlink(gg_path("input.gguf"), gg_path("link.gguf")), 0);
    assert_fails(fc_gguf_write_open(gg_path("link.gguf"), gg_path("input.gguf"), &w), FC_ERR_ARG, "the input itself");
    unlink(gg_path("link.gguf"));
    assert_fails(fc_gguf_write_open(gg_folder(), NULL, &w), FC_ERR_ARG, "a folder");
    assert_fails(fc_gguf_write_open(gg_path("x.safetensors"), NULL, &w), FC_ERR_ARG, "x.safetensors: a GGUF file");
    assert_fails(fc_gguf_write_open(gg_path("x.json"), NULL, &w), FC_ERR_ARG, "x.json: a GGUF file");
    assert_fails(fc_gguf_write_open(gg_path("none/x.gguf"), NULL, &w), FC_ERR_IO, "none/x.gguf: cannot be created");
    assert_fails(fc_gguf_write_open("/proc/x.gguf", NULL, &w), FC_ERR_IO, "/proc/x.gguf: cannot be created");
    assert_int_equal(mkdir(gg_path("readonly"), 0500), 0);
    if (geteuid() != 0) /* root may write anywhere */
        assert_fails(fc_gguf_write_open(gg_path("readonly/x.gguf"), NULL, &w), FC_ERR_IO, "Permission denied");
    assert_int_equal(rmdir(gg_path("readonly")), 0);
    snprintf(partial, sizeof partial, "%s/new.gguf.partial-%ld", gg_folder(), (long)getpid());
    gg_write(partial, "", 0);
    assert_fails(fc_gguf_write_open(gg_path("new.gguf"), NULL, &w), FC_ERR_IO, "is there already");
    assert_int_equal(access(partial, F_OK), 0); /* not ours to remove */
    unlink(partial);
    assert_null(w);
    assert_int_equal(entries(), before);
}

/* Some file systems cannot reserve room; there a full disk shows while writing. */
static bool reserves(void) {
    FILE *f = fopen(gg_path("reserve"), "wb");
    bool yes;
    assert_non_null(f);
    yes = fallocate(fileno(f), 0, 0, 4096) == 0;
    fclose(f);
    unlink(gg_path("reserve"));
    return yes;
}

/* A full disk, stood in for by a limit on file sizes, before the first byte and in the middle. */
static void a_full_disk_leaves_nothing(void **state) {
    struct rlimit old, low;
    fc_gguf_write *w;
    fc_status st;
    int before = entries();
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){1 << 20, old.rlim_max};

    w = writer(gg_path("full.gguf"));
    assert_ok(fc_gguf_write_tensor(w, "t", FC_I8, 2, 1 << 17, 32)); /* 4 MiB */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    st = fc_gguf_write_start(w, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    if (reserves()) assert_fails(st, FC_ERR_IO, "full.gguf: no room for 41");
    fc_gguf_write_close(w);

    w = writer(gg_path("full.gguf"));
    assert_ok(fc_gguf_write_tensor(w, "t", FC_I8, 2, 1 << 17, 32));
    assert_ok(fc_gguf_write_start(w, NULL, NULL));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    st = FC_OK;
    for (int i = 0; i < 1 << 10 && !st; i++) {
        static const unsigned char zeros[4096];
        st = fc_gguf_write_data(w, zeros, sizeof zeros);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_fails(st, FC_ERR_IO, "full.gguf: writing failed after");
    fc_gguf_write_close(w);
    fc_gguf_write_close(NULL);
    assert_int_equal(entries(), before);
}

static void wrong_tensors_are_refused(void **state) {
    fc_gguf_write *w = writer(gg_path("wrong.gguf"));
    (void)state;
    assert_fails(fc_gguf_write_tensor(w, "t", FC_Q8_0, 2, 4, 48), FC_ERR_ARG, "wrong.gguf: tensor t: Q8_0");
    assert_fails(fc_gguf_write_tensor(w, "t", FC_F32, 2, INT64_MAX / 8, 4), FC_ERR_ARG, "do not fit in a file");
    fc_gguf_write_close(w);
    assert_int_not_equal(access(gg_path("wrong.gguf"), F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_metadata_comes_back), cmocka_unit_test(tensors_of_every_type_come_back),
        cmocka_unit_test(progress_ends_at_the_total),        cmocka_unit_test(a_file_is_replaced_at_the_end),
        cmocka_unit_test(wrong_outputs_are_refused),         cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(wrong_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
