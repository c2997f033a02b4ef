/* machine - what this machine is and can do: fc_machine_inspect of engine/forkcast.h, and what tests look at. */
#ifndef FC_ENGINE_MACHINE_H
#define FC_ENGINE_MACHINE_H

#include <stddef.h>

/* The processor's name out of the text of /proc/cpuinfo: the first "model name" (or "Model", "Hardware" elsewhere than
 * on x86), blanks squeezed; "unknown" without one. */
void fc_machine_cpu_name(const char *cpuinfo, char *out, size_t size);

#endif
