/// Files that people give at a sign-in: received piece by piece, sealed as they come, and handed to the connector in
/// the same way. None is ever held whole.
///
/// The route takes the bytes of the file as its body, the sign-in as `id` in its address, and a flow token as its
/// credential: a client secret does not belong into an address. It answers the id with which `respond` then names the
/// file as the answer to the field.

internal import Connections
internal import Database
internal import FoundationEssentials
internal import HummingbirdCore
internal import Institutions
internal import NIOCore
internal import Vault
internal import Wire

enum Uploads {
    /// The bytes that are held while a file comes, and stored in one write.
    private static let batch = 8 * UploadedFile.pieceSize

    static func receive(_ call: Call) async throws -> Answer {
        let service = call.service
        let limit = service.settings.uploadLimit
        guard call.flow != nil, let body = call.file else {
            throw StripeError(status: 403, message: "A file is given with a flow token. It stands in hosted_auth_url.")
        }
        guard call.length ?? 0 <= limit else { throw tooLarge(limit) }
        let id = try call.lenient.requiredString("id")
        var file = try await service.database.write { db in
            let session = try call.consentedSession(db)
            let signIn = try SignIn.find(id, of: session, db)
            try signIn.checkAsksForFile()
            return try UploadedFile.begin(for: signIn, of: session, db, service.world)
        }
        do {
            let size = try await store(body, as: file, limit, service)
            file = try await service.database.write { [file] db in
                // It may have ended, or gone on, while the file came.
                try SignIn.find(id, of: call.consentedSession(db), db).checkAsksForFile()
                var file = file
                try file.complete(size: size, db, service.world)
                return file
            }
        } catch {
            _ = try? await service.database.write { [file] db in try file.discard(db) }
            throw error
        }
        return Call.answer { [file] json in
            json.object { json in
                json.field("id", file.id)
                json.field("object", "upload")
                json.field("size", Int64(file.size))
            }
        }
    }

    private static func store(
        _ body: RequestBody,
        as file: UploadedFile,
        _ limit: Int,
        _ service: Service
    ) async throws -> Int {
        var (held, number, size): ([UInt8], Int, Int) = ([], 0, 0)
        var chunks = body.makeAsyncIterator()
        while true {
            let chunk: ByteBuffer?
            do {
                chunk = try await chunks.next()
            } catch {
                throw StripeError(message: "The file did not come whole. Try again.")
            }
            if let chunk {
                size += chunk.readableBytes
                guard size <= limit else { throw tooLarge(limit) }
                held += chunk.readableBytesView
            }
            if held.count >= batch || chunk == nil {
                // What does not fill a piece waits, unless nothing follows.
                let end = chunk == nil ? held.count : held.count / UploadedFile.pieceSize * UploadedFile.pieceSize
                var pieces: [UploadedFile.Piece] = []
                for begin in stride(from: 0, to: end, by: UploadedFile.pieceSize) {
                    let bytes = held[begin..<min(end, begin + UploadedFile.pieceSize)]
                    pieces.append(try file.piece(number, bytes, service.ring))
                    number += 1
                }
                held.removeFirst(end)
                try await service.database.write { [pieces] db in try file.append(pieces, db, service.world) }
            }
            if chunk == nil { break }
        }
        guard size > 0 else { throw StripeError(message: "The file is empty.") }
        return size
    }

    private static func tooLarge(_ limit: Int) -> StripeError {
        StripeError(
            status: 413,
            code: "file_too_large",
            message: "The file is larger than \(limit / 1_000_000) MB, the most that is taken here."
        )
    }

    // MARK: As an answer

    /// What was answered at a sign-in: with the file, where one of the answers names it.
    static func response(
        _ answers: [String: String],
        at signIn: SignIn,
        _ service: Service
    ) async throws -> (Institutions.Response, UploadedFile?) {
        if answers.isEmpty, signIn.prompt == nil { return (.poll, nil) }
        guard let (field, id) = answers.first(where: { $0.value.hasPrefix(UploadedFile.prefix) }) else {
            return (.answers(answers), nil)
        }
        let file = try await service.database.read { db in
            try UploadedFile.find(id, of: signIn, db, service.world)
        }
        guard let file else { return (.answers(answers), nil) }
        var others = answers
        others[field] = nil
        return (.file(Upload(file, service), answers: others), file)
    }
}

extension SignIn {
    /// A form as ``Prompt`` is stored.
    private struct Form: Decodable {
        struct Field: Decodable { let kind: String }
        let fields: [Field]
    }

    /// - Throws: where no form stands open that has a field for a file.
    fileprivate func checkAsksForFile() throws {
        let form = try prompt.map { try JSONDecoder().decode(Form.self, from: Data($0.utf8)) }
        let file = Prompt.Field.Kind.file.rawValue
        guard status == .prompting, let form, form.fields.contains(where: { $0.kind == file }) else {
            throw StripeError(param: "id", message: "This sign-in does not ask for a file.")
        }
    }
}

extension Upload {
    init(_ file: UploadedFile, _ service: Service) {
        self.init(size: file.size) { offset throws(ConnectorError) in
            do {
                return try await file.bytes(from: offset, service.database, service.ring)
            } catch {
                throw .institutionUnavailable(until: nil)
            }
        }
    }
}

extension Institutions.Response {
    /// How long the answer to it may take: a file may be large.
    var patience: Duration {
        if case .file = self { return .seconds(170) }
        return .seconds(17)
    }
}
