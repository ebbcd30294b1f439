#include <libpq-fe.h>

/// What the server says beside its answers is not for standard error, where libpq would put it.
static inline void linkspan_ignore(void *nothing, const PGresult *notice) {}

static inline void linkspan_ignore_notices(PGconn *connection) {
    PQsetNoticeReceiver(connection, linkspan_ignore, NULL);
}
