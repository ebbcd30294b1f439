/// Making secrets, and the digests by which they are looked up.
///
/// A secret that comes in is never compared: its digest is looked up, so that no timing tells how much of it was right.

internal import Crypto
internal import FoundationEssentials

public enum Secret {
    private static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

    /// `prefix` and `length` random letters and digits, nearly 6 bits each.
    public static func make(
        prefix: String,
        length: Int,
        using random: inout some RandomNumberGenerator
    ) -> String {
        // Ten letters out of one number, each as likely as any other: numbers beyond the last whole multiple are thrown
        // away.
        let groups: UInt64 = 839_299_365_868_340_224  // 62 to the power of 10
        let limit = groups * (UInt64.max / groups)
        let count = prefix.utf8.count + length
        return String(unsafeUninitializedCapacity: count) { letters in
            var end = letters.update(fromContentsOf: prefix.utf8)
            while end < count {
                var number = random.next()
                guard number < limit else { continue }
                for _ in 0..<min(count - end, 10) {
                    letters[end] = alphabet[Int(number % 62)]
                    number /= 62
                    end += 1
                }
            }
            return count
        }
    }

    /// SHA-256, for secrets that are random and long enough that nobody can try them all.
    public static func digest(_ secret: String) -> [UInt8] {
        var secret = secret
        return secret.withUTF8 { digest(UnsafeRawBufferPointer($0)) }
    }

    /// SHA-256 of a whole message.
    public static func digest(_ message: [UInt8]) -> [UInt8] {
        message.withUnsafeBytes(digest)
    }

    private static func digest(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var hash = SHA256()
        hash.update(bufferPointer: bytes)
        return hash.finalize().withUnsafeBytes { [UInt8]($0) }
    }

    /// Bytes as letters and digits, one each.
    static func letters(_ bytes: some Sequence<UInt8>) -> String {
        String(decoding: bytes.map { alphabet[Int($0) % alphabet.count] }, as: UTF8.self)
    }

    /// Base64 that can stand in a URL, without padding.
    public static func base64URL(_ bytes: [UInt8]) -> String {
        let text = Data(bytes).base64EncodedString()
        return String(text.compactMap { $0 == "+" ? "-" : $0 == "/" ? "_" : $0 == "=" ? nil : $0 })
    }

    /// - Returns: nil for a text that is not base64 of this form.
    public static func bytes(base64URL text: some StringProtocol) -> [UInt8]? {
        var base64 = String(text.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
        base64 += String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
        return Data(base64Encoded: base64).map { [UInt8]($0) }
    }
}
