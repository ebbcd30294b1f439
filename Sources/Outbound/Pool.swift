/// Connections that wait for the next request to the same place, and the contexts of TLS, which are costly to make.

internal import NIOCore
internal import NIOSSL
internal import Synchronization

final class Pool: Sendable {
    /// Where a connection leads and what was proved on it: nothing is shared across any of these.
    struct Key: Hashable, Sendable {
        let isTLS: Bool
        let authority: String
        let address: Outbound.Address
        let port: Int
        /// The name that the other side's certificate must have, nil where it must have the address.
        let serverName: String?
        let identity: Outbound.ClientIdentity?
        let trustRoots: String?

        init(_ destination: Destination, _ address: Outbound.Address, _ request: Outbound.Request) {
            isTLS = destination.isTLS
            authority = destination.authority
            self.address = address
            port = destination.port
            if case .name(let name) = destination.host { serverName = name } else { serverName = nil }
            identity = request.identity
            trustRoots = request.trustRoots
        }
    }

    // As many as the busiest caller has under way: those that are closed must be opened anew a moment later.
    private static let capacityOfKey = 256
    private static let capacity = 512

    private struct State {
        var idle: [Key: [Connection]] = [:]
        var count = 0
        var isClosed = false
    }

    /// A connection that is not used for so long is closed.
    let idleTime: TimeAmount
    private let state = Mutex(State())

    init(idleTime: TimeAmount) {
        self.idleTime = idleTime
    }

    /// - Returns: the connection that was used last to one of these places.
    func take(_ keys: [Key]) -> Connection? {
        state.withLock { state in
            for key in keys {
                guard let connection = state.idle[key]?.popLast() else { continue }
                if state.idle[key]?.isEmpty == true { state.idle[key] = nil }
                state.count -= 1
                return connection
            }
            return nil
        }
    }

    func put(_ connection: Connection) {
        let isKept = state.withLock { state in
            let count = state.idle[connection.key]?.count ?? 0
            guard !state.isClosed, count < Self.capacityOfKey, state.count < Self.capacity else { return false }
            state.idle[connection.key, default: []].append(connection)
            state.count += 1
            return true
        }
        guard isKept else { return connection.close() }
        // It may have ended while it was on its way here.
        if !connection.isOpen { remove(connection) }
    }

    /// Forgets a connection that has ended.
    func remove(_ connection: Connection) {
        state.withLock { state in
            guard let index = state.idle[connection.key]?.firstIndex(where: { $0 === connection }) else { return }
            state.idle[connection.key]?.remove(at: index)
            if state.idle[connection.key]?.isEmpty == true { state.idle[connection.key] = nil }
            state.count -= 1
        }
    }

    func close() {
        state.withLock { state in
            state.isClosed = true
            for connection in state.idle.values.joined() { connection.close() }
            (state.idle, state.count) = ([:], 0)
        }
    }
}

/// Contexts of TLS by what they trust and prove.
final class TLSContexts: Sendable {
    private struct Key: Hashable {
        let identity: Outbound.ClientIdentity?
        let trustRoots: String?
    }

    private static let capacity = 100
    private let contexts = Mutex<[Key: NIOSSLContext]>([:])

    func context(_ identity: Outbound.ClientIdentity?, _ trustRoots: String?) throws(OutboundError) -> NIOSSLContext {
        let key = Key(identity: identity, trustRoots: trustRoots)
        if let known = contexts.withLock({ $0[key] }) { return known }
        do {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            if let trustRoots {
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(trustRoots.utf8)))
            }
            if let identity {
                configuration.certificateChain =
                    try NIOSSLCertificate
                    .fromPEMBytes(Array(identity.certificateChain.utf8)).map { .certificate($0) }
                configuration.privateKey = .privateKey(
                    try NIOSSLPrivateKey(bytes: Array(identity.privateKey.utf8), format: .pem)
                )
            }
            let context = try NIOSSLContext(configuration: configuration)
            contexts.withLock { contexts in
                if contexts.count >= Self.capacity { contexts.removeAll() }
                contexts[key] = context
            }
            return context
        } catch {
            throw .tls
        }
    }
}
