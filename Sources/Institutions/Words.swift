/// Texts of institutions, as they may be shown and stored.
///
/// It promises that no text of theirs hides letters, turns the direction of those beside it, breaks a line or goes on
/// without end, whatever the connector took; and that an id which no database and no form can carry is told apart.

enum Words {
    /// Letters of a text, whatever it is.
    private static let maximumLength = 1000
    /// Bytes of an id.
    private static let maximumID = 500

    /// On one line, without what is not to be seen; nil where nothing is left.
    /// - Parameter length: in letters.
    static func plain(_ text: String, upTo length: Int = 500) -> String? {
        let plain = text.unicodeScalars.prefix(4 * length).map { scalar -> Unicode.Scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: " "
            default: scalar
            }
        }
        let words = String(String.UnicodeScalarView(plain)).split(separator: " ").joined(separator: " ")
        return words.isEmpty ? nil : String(words.prefix(length))
    }

    /// The same, empty where nothing is left; a text that is plain already stays as it is, spaces and all.
    static func tidy(_ text: String) -> String {
        let isPlain = text.utf8.count <= maximumLength && text.utf8.allSatisfy { (0x20..<0x7F).contains($0) }
        return isPlain ? text : plain(text, upTo: maximumLength) ?? ""
    }

    /// Several names as one text. Other names have another text, whatever stands in them.
    static func key(_ parts: [String]) -> String {
        parts.map { $0.replacing("\\", with: "\\\\").replacing("|", with: "\\|") }.joined(separator: "|")
    }

    /// Whether a text can be an id.
    static func isID(_ text: String) -> Bool {
        (1...maximumID).contains(text.utf8.count) && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }
}
