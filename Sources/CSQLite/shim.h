#include <sqlite3.h>

/// Swift cannot call what takes a variable number of arguments. To be called before anything else of the engine.
static inline int linkspan_configure(void) {
    return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}
