/// The signature of a webhook: whoever has the endpoint's secret can tell that a body came from here, and when.

internal import Crypto
internal import FoundationEssentials

public enum Signature {
    /// The value of `Stripe-Signature`: the time and one HMAC-SHA256 for each secret, over the time and the body.
    /// - Parameter secrets: whole, with their `whsec_`; two while one is being replaced.
    public static func header(of body: [UInt8], at seconds: Int64, secrets: [String]) -> String {
        var parts = ["t=\(seconds)"]
        for secret in secrets {
            var code = HMAC<SHA256>(key: SymmetricKey(data: Data(secret.utf8)))
            code.update(data: Data("\(seconds).".utf8))
            code.update(data: body)
            parts.append("v1=\(hexadecimal(code.finalize()))")
        }
        return parts.joined(separator: ",")
    }

    private static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0xF)]] }, as: UTF8.self)
    }
}
