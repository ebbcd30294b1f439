/// The signature of a webhook: whoever has the endpoint's secret can tell that a body came from here, and when.

internal import Crypto

public enum Signature {
    /// The value of `Stripe-Signature`: the time and one HMAC-SHA256 for each secret, over the time and the body.
    /// - Parameter secrets: whole, with their `whsec_`; two while one is being replaced.
    public static func header(of body: [UInt8], at seconds: Int64, secrets: [String]) -> String {
        var signed = Array("\(seconds).".utf8)
        signed.append(contentsOf: body)
        return secrets.reduce("t=\(seconds)") { header, secret in
            let key = SymmetricKey(data: Array(secret.utf8))
            return header + ",v1=" + hexadecimal(HMAC<SHA256>.authenticationCode(for: signed, using: key))
        }
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private static func hexadecimal(_ code: some Sequence<UInt8>) -> String {
        var letters: [UInt8] = []
        letters.reserveCapacity(2 * SHA256.byteCount)
        for byte in code {
            letters.append(digits[Int(byte >> 4)])
            letters.append(digits[Int(byte & 0xF)])
        }
        return String(decoding: letters, as: UTF8.self)
    }
}
