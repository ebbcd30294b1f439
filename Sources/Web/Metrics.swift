/// Counts of what was served, as text that Prometheus reads. The route is a label, never the address: no client can
/// make up new ones.

internal import Synchronization

final class Metrics: Sendable {
    /// Upper bounds of the histogram's buckets, in seconds.
    private static let bounds: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    private static let methods = ["GET", "POST", "DELETE", "OPTIONS", "HEAD"]

    private struct Key: Hashable {
        let route: String
        let method: String
        let status: Int
    }

    private struct Series {
        var buckets = [Int](repeating: 0, count: Metrics.bounds.count)
        var count = 0
        var seconds = 0.0

        mutating func add(_ duration: Double) {
            count += 1
            seconds += duration
            if let bucket = Metrics.bounds.firstIndex(where: { duration <= $0 }) { buckets[bucket] += 1 }
        }
    }

    private let series = Mutex<[Key: Series]>([:])

    func record(route: String, method: String, status: Int, duration: Duration) {
        // Methods come from outside: those that are not served are one.
        let method = Self.methods.contains(method) ? method : "other"
        let (whole, fraction) = duration.components
        let seconds = Double(whole) + Double(fraction) / 1e18
        series.withLock { series in
            // Changed where it lies: a copy would cost an allocation a request.
            series[Key(route: route, method: method, status: status), default: Series()].add(seconds)
        }
    }

    /// The text of `/metrics`.
    func text() -> String {
        let series = series.withLock { $0 }.sorted { ($0.key.route, $0.key.status) < ($1.key.route, $1.key.status) }
        var text = "# HELP linkspan_http_request_duration_seconds Time to answer a request.\n"
        text += "# TYPE linkspan_http_request_duration_seconds histogram\n"
        for (key, entry) in series {
            let labels = "route=\"\(key.route)\",method=\"\(key.method)\",status=\"\(key.status)\""
            var total = 0
            for (bound, count) in zip(Self.bounds, entry.buckets) {
                total += count
                text += "linkspan_http_request_duration_seconds_bucket{\(labels),le=\"\(bound)\"} \(total)\n"
            }
            text += "linkspan_http_request_duration_seconds_bucket{\(labels),le=\"+Inf\"} \(entry.count)\n"
            text += "linkspan_http_request_duration_seconds_sum{\(labels)} \(entry.seconds)\n"
            text += "linkspan_http_request_duration_seconds_count{\(labels)} \(entry.count)\n"
        }
        return text
    }
}
