/// Marks values so that equal ones are known as equal and none can be read out of its mark: account numbers are few
/// enough to be tried one by one, so that a mark without a secret would tell them.

internal import Crypto
internal import FoundationEssentials

public struct Marker: Sendable {
    private let key: SymmetricKey

    /// - Parameter secret: 32 bytes of chance, or as good as that.
    public init(secret: [UInt8]) {
        key = SymmetricKey(data: secret)
    }

    /// - Returns: 16 letters and digits.
    public func mark(_ text: String) -> String {
        Secret.letters(HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: key).prefix(16))
    }
}
