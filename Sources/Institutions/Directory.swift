/// Every institution that this server reaches, whatever its connector, and how people find one.

public struct Directory: Sendable {
    private let entries: [(institution: Institution, connector: any Connector)]

    /// - Parameter connectors: in the order in which their institutions are shown.
    public init(_ connectors: [any Connector]) {
        entries = connectors.flatMap { connector in connector.institutions.map { ($0, connector) } }
    }

    /// Finds an institution by its id.
    public func find(_ id: String) -> (institution: Institution, connector: any Connector)? {
        entries.first { $0.institution.id == id }
    }

    /// Finds an institution by its id or its exact name.
    public func find(named nameOrID: String) -> Institution? {
        entries.first { $0.institution.id == nameOrID || $0.institution.name == nameOrID }?.institution
    }

    /// - Parameter country: an ISO code in upper case; nil for every country.
    public func featured(in country: String?, limit: Int) -> [Institution] {
        Array(served(country).filter(\.featured).prefix(limit))
    }

    /// Institutions whose name or address has all the words typed; those whose name begins with them come first.
    public func search(_ query: String, in country: String?, limit: Int) -> [Institution] {
        let words = query.lowercased().split { $0.isWhitespace }.map(String.init)
        guard !words.isEmpty else { return featured(in: country, limit: limit) }
        let found = served(country).filter { institution in
            let text = "\(institution.name) \(institution.domain)".lowercased()
            return words.allSatisfy { text.contains($0) }
        }
        let (first, rest) = (
            found.filter { $0.name.lowercased().hasPrefix(words[0]) },
            found.filter { !$0.name.lowercased().hasPrefix(words[0]) }
        )
        return Array((first + rest).prefix(limit))
    }

    private func served(_ country: String?) -> [Institution] {
        let all = entries.map(\.institution)
        guard let country else { return all }
        return all.filter { $0.countries.contains(country) }
    }
}
