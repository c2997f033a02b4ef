/* conform - each PTX wrapper and function of numbers on a device against its emulated twin.
 *
 * write FILE            runs the kernels and writes what came out (gpu_conform, on the machine with the device)
 * write FILE whole      without the kernel whose barriers are of a part of a block: racecheck does not follow those
 * compare FILE [LINES]  runs them and compares FILE with it; LINES gets a line of JSON for each record (emu_conform)
 * self                  twice, through a file: the two must agree
 */
#include "tests/gpu/conform_async.cuh"
#include "tests/gpu/conform_cluster.cuh"
#include "tests/gpu/conform_numbers.cuh"
#include "tests/gpu/conform_sync.cuh"
#include "tests/gpu/conform_tiles.cuh"
#include "tests/gpu/conform_turned.cuh"
#include "tests/gpu/conform_warps.cuh"

#include <inttypes.h>
#include <unistd.h>

static void run(conform_run *r, bool whole) {
    r->s = device_stream(0);
    r->seed = 20;
    conform_numbers(r);
    conform_warps(r);
    if (!whole) conform_sync(r);
    conform_tiles(r);
    conform_async(r);
    conform_turned(r);
    conform_cluster(r);
    device_close(r->s);
}

static void put(FILE *f, const void *p, size_t n) {
    if (fwrite(p, 1, n, f) == n) return;
    perror("conform: write");
    exit(2);
}

static void write_file(const conform_run *r, const char *path) {
    FILE *f = fopen(path, "wb");
    if (!f) perror(path), exit(2);
    for (const conform_record &c : r->records) {
        uint32_t head[2] = {(uint32_t)c.name.size(), (uint32_t)c.got.size()};
        put(f, head, sizeof head);
        put(f, c.name.data(), c.name.size());
        put(f, c.got.data(), c.got.size() * 4);
    }
    if (fclose(f)) perror(path), exit(2);
}

static bool get(FILE *f, void *p, size_t n) { return fread(p, 1, n, f) == n; }

/* The words of the next record, which must be c's. */
static words read_record(FILE *f, const conform_record &c) {
    uint32_t head[2];
    if (!get(f, head, sizeof head) || head[0] != c.name.size() || (head[1] && head[1] != c.got.size())) {
        fprintf(stderr, "conform: the file ends at, or is of another build before, \"%s\"\n", c.name.c_str());
        exit(2);
    }
    std::string name(head[0], ' ');
    words w(head[1]);
    if (!get(f, &name[0], head[0]) || !get(f, w.data(), w.size() * 4) || name != c.name) {
        fprintf(stderr, "conform: the file is of another build: \"%s\", not \"%s\"\n", name.c_str(), c.name.c_str());
        exit(2);
    }
    return w;
}

static float number_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static double wide_of(const uint32_t *w) {
    uint64_t u = (uint64_t)w[1] << 32 | w[0];
    double d;
    memcpy(&d, &u, 8);
    return d;
}

/* Units in the last place between two numbers of `bits` bits; any NaN is any NaN, and zeros are one. */
static double ulps(uint64_t a, uint64_t b, int bits, bool nan_a, bool nan_b) {
    uint64_t sign = (uint64_t)1 << (bits - 1);
    if (nan_a || nan_b) return nan_a && nan_b ? 0.0 : INFINITY;
    int64_t x = (int64_t)(a & sign ? sign - a : a), y = (int64_t)(b & sign ? sign - b : b);
    return (double)(x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x);
}

/* How far word i of a device lies from the twin's, in units of what is allowed but for BITS: above 1 is wrong. */
static double distance(const conform_record &c, const words &device, size_t i) {
    uint32_t d = device[i], t = c.got[i];
    float x = number_of(d), y = number_of(t);
    bool both_nan = isnan(x) && isnan(y);
    switch (c.kind) {
    case BITS: return d == t ? 0.0 : INFINITY;
    case FLOATS: return d == t || both_nan ? 0.0 : INFINITY;
    case VALUES: return x == y || both_nan ? 0.0 : INFINITY;
    case ULPS: return ulps(d, t, 32, isnan(x), isnan(y)) / c.most;
    case DOUBLES: {
        if (i % 2) return 0.0;
        double p = wide_of(&device[i]), q = wide_of(&c.got[i]);
        uint64_t a = (uint64_t)device[i + 1] << 32 | d, b = (uint64_t)c.got[i + 1] << 32 | t;
        return a == b ? 0.0 : ulps(a, b, 64, isnan(p), isnan(q)) / c.most;
    }
    case SUMS: return d == t ? 0.0 : isnan(x) ? INFINITY : fabs((double)x - (double)y) / (double)c.allow[i];
    }
    return INFINITY;
}

/* How many records of the file are wrong; lines NULL: none are written. */
static int compare(const conform_run *r, const char *path, const char *lines, bool quiet) {
    FILE *f = fopen(path, "rb"), *json = lines ? fopen(lines, "a") : NULL;
    int failed = 0;
    if (!f) perror(path), exit(2);
    if (lines && !json) perror(lines), exit(2);
    for (const conform_record &c : r->records) {
        words device = read_record(f, c);
        size_t other = 0, wrong = 0, first = 0;
        double largest = 0.0;
        for (size_t i = 0; i < device.size(); i++) {
            double far = distance(c, device, i);
            other += device[i] != c.got[i];
            if (far > 1.0 && wrong++ == 0) first = i;
            if (far > largest) largest = far;
        }
        failed += wrong > 0;
        if (quiet) continue;
        if (device.empty()) {
            printf("none   %-56s this device has no such thing\n", c.name.c_str());
            continue;
        }
        printf("%-6s %-56s %6zu words, %zu with other bits", wrong ? "FAILED" : "ok", c.name.c_str(), device.size(),
               other);
        if (c.kind == ULPS || c.kind == DOUBLES) printf("; at most %.3g of %u ulps", largest * c.most, c.most);
        if (c.kind == SUMS) printf("; at most %.3g of what is allowed", largest);
        if (wrong)
            printf("\n       %zu wrong, first word %zu: device %08" PRIx32 " (%.9g), twin %08" PRIx32 " (%.9g)", wrong,
                   first, device[first], (double)number_of(device[first]), c.got[first],
                   (double)number_of(c.got[first]));
        printf("\n");
        if (json)
            fprintf(json,
                    "{\"part\": \"conform\", \"name\": \"%s\", \"ok\": %s, \"words\": %zu, \"other_bits\": %zu, "
                    "\"wrong\": %zu, \"of_allowed\": %.4g}\n",
                    c.name.c_str(), wrong ? "false" : "true", device.size(), other, wrong,
                    isinf(largest) ? -1.0 : largest);
    }
    fclose(f);
    if (json) fclose(json);
    if (!quiet) printf("%zu records, %d failed\n", r->records.size(), failed);
    return failed;
}

/* Also that a word that is off is seen, in every record. */
static int self(void) {
    char path[] = "/tmp/conform-XXXXXX";
    int fd = mkstemp(path);
    conform_run a = {}, b = {};
    if (fd < 0) perror(path), exit(2);
    close(fd);
    run(&a, false);
    write_file(&a, path);
    run(&b, false);
    int failed = compare(&b, path, NULL, false);
    for (conform_record &c : a.records) c.got[c.got.size() / 2 & ~(size_t)1] ^= 0x00400000u;
    write_file(&a, path);
    size_t seen = (size_t)compare(&b, path, NULL, true);
    unlink(path);
    printf("%zu of %zu records with one word off were seen\n", seen, a.records.size());
    return failed == 0 && seen == a.records.size() ? 0 : 1;
}

int main(int argc, char **argv) {
    conform_run r = {};
    if (argc == 2 && strcmp(argv[1], "self") == 0) return self();
    if (argc < 3 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "compare") != 0)) {
        fprintf(stderr, "conform: write FILE, compare FILE [LINES], or self\n");
        return 2;
    }
    run(&r, argc > 3 && strcmp(argv[1], "write") == 0 && strcmp(argv[3], "whole") == 0);
    if (strcmp(argv[1], "compare") == 0) return compare(&r, argv[2], argc > 3 ? argv[3] : NULL, false) ? 1 : 0;
    write_file(&r, argv[2]);
    return 0;
}
