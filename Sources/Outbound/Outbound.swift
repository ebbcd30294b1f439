/// The only way out: a request to an address that we did not choose.
///
/// Every address that a host resolves to is held against the policy, and the connection goes to one of exactly those: a
/// name that answers otherwise a moment later changes nothing. A redirect is an answer like any other; no proxy of the
/// environment is used; nothing is decompressed. Time, headers and bytes have bounds. Connections are kept for the next
/// request to the same host at the same, again checked, address.

public import NIOCore
public import NIOPosix

public struct Outbound: Sendable {
    public struct Request: Sendable {
        public var method: String
        /// `http` or `https`, without credentials.
        public var url: String
        public var headers: [(name: String, value: String)]
        public var body: [UInt8]?
        /// For all of it: the name, the connection, the whole reply.
        public var timeout: Duration
        /// How many bytes of the reply's body are kept.
        public var maximumReply: Int
        public var whenLonger: WhenLonger
        public var identity: ClientIdentity?
        /// Certificates, as PEM, to trust instead of the system's.
        public var trustRoots: String?
        /// Whether it does no harm if the receiver gets it twice: only then may it go over a connection that was used
        /// before, which the other side may be closing at this moment.
        public var isRepeatable: Bool

        public init(
            method: String = "GET",
            url: String,
            headers: [(name: String, value: String)] = [],
            body: [UInt8]? = nil,
            timeout: Duration = .seconds(10),
            maximumReply: Int = 64 * 1024,
            whenLonger: WhenLonger = .fail,
            identity: ClientIdentity? = nil,
            trustRoots: String? = nil,
            isRepeatable: Bool? = nil
        ) {
            self.method = method
            self.url = url
            self.headers = headers
            self.body = body
            self.timeout = timeout
            self.maximumReply = maximumReply
            self.whenLonger = whenLonger
            self.identity = identity
            self.trustRoots = trustRoots
            self.isRepeatable = isRepeatable ?? ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].contains(method)
        }
    }

    /// What becomes of a reply that is longer than what is kept.
    public enum WhenLonger: Sendable {
        /// The rest is not read. A body that ends early or cannot be read is cut there too.
        case cut
        /// It is ``OutboundError/tooLong``.
        case fail
    }

    /// What we prove who we are with, for mutual TLS. It is never printed.
    public struct ClientIdentity: Sendable, Hashable, CustomStringConvertible {
        let certificateChain: String
        let privateKey: String

        /// - Parameter certificateChain: PEM, our own certificate first.
        /// - Parameter privateKey: PEM, without a passphrase.
        public init(certificateChain: String, privateKey: String) {
            self.certificateChain = certificateChain
            self.privateKey = privateKey
        }

        public var description: String { "ClientIdentity" }

        /// Whether both can be read and belong together.
        public var isUsable: Bool { (try? TLSContexts().context(self, nil)) != nil }
    }

    public struct Reply: Sendable {
        public let status: Int
        public let headers: Headers
        public let body: [UInt8]
        /// Whether what was kept is not the whole body.
        public let isCut: Bool
    }

    /// The header fields of a reply; names are compared without regard to case.
    public struct Headers: Sendable {
        public let all: [(name: String, value: String)]

        public func first(_ name: String) -> String? {
            all.first { $0.name.lowercased() == name.lowercased() }?.value
        }
    }

    public let policy: Policy
    private let group: any EventLoopGroup
    private let resolver: Resolver
    private let pool: Pool
    private let contexts: TLSContexts

    /// - Parameters:
    ///   - idleTime: a connection that is not used for so long is closed; many servers keep one for longer.
    ///   - resolve: what a name means, as the operating system says; it may block. Tests pass their own.
    public init(
        policy: Policy,
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        idleTime: Duration = .seconds(15),
        resolve: @escaping @Sendable (String) -> [Address] = Resolver.system
    ) {
        self.policy = policy
        self.group = group
        resolver = Resolver(resolve)
        pool = Pool(idleTime: TimeAmount(idleTime))
        contexts = TLSContexts()
    }

    private init(_ other: Outbound, policy: Policy) {
        self.policy = policy
        (group, resolver, pool, contexts) = (other.group, other.resolver, other.pool, other.contexts)
    }

    /// The same way out under another policy.
    public func under(_ policy: Policy) -> Outbound { Outbound(self, policy: policy) }

    /// Closes the connections that are kept. What is under way goes on.
    public func shutdown() {
        pool.close()
        resolver.close()
    }

    /// - Throws: an error that says what went wrong without the URL's query, credentials or anything of the reply.
    public func send(_ request: Request) async throws(OutboundError) -> Reply {
        let deadline = NIODeadline.now() + TimeAmount(request.timeout)
        let destination = try Destination(request.url)
        guard request.isValid else { throw .invalidRequest }
        let addresses: [Address]
        switch destination.host {
        case .address(let address): addresses = [address]
        case .name(let name): addresses = try await resolver.addresses(of: name, until: deadline, on: group.any())
        }
        // All of them: which one a system would have dialled is not ours to guess.
        guard addresses.allSatisfy({ policy.allows($0, isTLS: destination.isTLS) }) else { throw .notAllowed }
        let keys = addresses.map { Pool.Key(destination, $0, request) }
        if request.isRepeatable {
            while let connection = pool.take(keys) {
                switch await connection.run(request, to: destination, until: deadline) {
                case .success(let reply): return reply
                case .failure(.stale): continue
                case .failure(.other(let error)): throw error
                }
            }
        }
        let connection = try await connect(keys, destination, request, until: deadline)
        switch await connection.run(request, to: destination, until: deadline) {
        case .success(let reply): return reply
        case .failure(.stale): throw .broken
        case .failure(.other(let error)): throw error
        }
    }

    /// Opens a connection to the first address that takes one.
    private func connect(
        _ keys: [Pool.Key],
        _ destination: Destination,
        _ request: Request,
        until deadline: NIODeadline
    ) async throws(OutboundError) -> Connection {
        let context = destination.isTLS ? try contexts.context(request.identity, request.trustRoots) : nil
        for (index, key) in keys.enumerated() {
            // What time there is, shared by the addresses that are left.
            let left = deadline - .now()
            guard left > .zero, !Task.isCancelled else { break }
            let timeout = TimeAmount.nanoseconds(left.nanoseconds / Int64(keys.count - index))
            do {
                return try await Connection.open(key, context, in: pool, group, timeout: timeout)
            } catch let error as OutboundError {
                throw error
            } catch {
                continue
            }
        }
        guard !Task.isCancelled else { throw .cancelled }
        throw deadline <= .now() ? .timedOut : .unreachable
    }
}

extension Outbound.Request {
    private static let separators = Array("\"(),/:;<=>?@[\\]{}".utf8)
    /// What the connection itself says.
    private static let reserved: Set<String> = [
        "connection", "content-length", "host", "transfer-encoding", "upgrade",
    ]

    /// Whether nothing in the method and headers could be read as more than what it is.
    fileprivate var isValid: Bool {
        func isToken(_ text: String) -> Bool {
            !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !Self.separators.contains($0) }
        }
        return isToken(method)
            && headers.allSatisfy { name, value in
                isToken(name) && value.utf8.allSatisfy { $0 == 0x09 || $0 >= 0x20 && $0 != 0x7F }
                    && !Self.reserved.contains(name.lowercased())
            }
    }
}

/// Why there is no reply. The descriptions are for people and hold nothing of the request.
public enum OutboundError: Error, Sendable, Equatable, CustomStringConvertible {
    case notAllowed
    case invalidURL
    case invalidRequest
    case unresolved
    case unreachable
    /// The connection ended early, or what came is not HTTP. The request may have been received.
    case broken
    case timedOut
    case tooLong
    case tls
    case cancelled

    public var description: String {
        switch self {
        case .notAllowed: "the address is not allowed"
        case .invalidURL: "the URL is not one that can be requested"
        case .invalidRequest: "the request's method or headers are not valid"
        case .unresolved: "the name could not be resolved"
        case .unreachable: "no connection could be made"
        case .broken: "the connection ended before the reply was complete"
        case .timedOut: "no complete reply in time"
        case .tooLong: "the reply is too long"
        case .tls: "no trusted encrypted connection could be made"
        case .cancelled: "the request was given up"
        }
    }
}
