/* check - does an adapter belong to a model, before anything is loaded. */
#include "weights_tools/adapter.h"
#include "weights_tools/tools.h"

fc_status fc_tools_check_adapter(const char *model, const char *folder) {
    fc_weights *w;
    fc_adapter_file *f = NULL;
    fc_status st;
    FC_TRY(fc_weights_open(model, &w));
    st = fc_adapter_file_open(folder, fc_weights_config(w), &f);
    fc_adapter_file_close(f);
    fc_weights_close(w);
    return st;
}
