#include "kernels/cuda/cuda.cuh"

#include <algorithm>
#include <string>
#include <vector>

extern "C" {
#include "tests/cuda_emu/util_places.h"
}

/* The linker's: the section's two ends. */
extern emu_place __start_emu_places[], __stop_emu_places[];

static std::vector<place> sorted(void) {
    std::vector<place> all;
    for (const emu_place *p = __start_emu_places; p < __stop_emu_places; p++) {
        const char *below = strstr(p->file, "kernels/");
        all.push_back({below ? below + 8 : p->file, p->call, p->line, p->times});
    }
    std::sort(all.begin(), all.end(), [](const place &a, const place &b) {
        int files = strcmp(a.file, b.file);
        return files ? files < 0 : a.line < b.line;
    });
    return all;
}

int places_count(void) { return (int)(__stop_emu_places - __start_emu_places); }
place places_at(int i) { return sorted()[(size_t)i]; }
