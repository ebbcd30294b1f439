#include <sqlite3.h>

/// The engine copies what it is given: Swift cannot spell SQLITE_TRANSIENT, which is a cast of -1.
static inline int linkspan_bind_text(sqlite3_stmt *statement, int index, const unsigned char *text,
                                     int length) {
    return sqlite3_bind_text(statement, index, length == 0 ? "" : (const char *)text, length, SQLITE_TRANSIENT);
}

static inline int linkspan_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, int length) {
    return sqlite3_bind_blob(statement, index, length == 0 ? "" : bytes, length, SQLITE_TRANSIENT);
}
