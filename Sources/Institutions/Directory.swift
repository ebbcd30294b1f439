/// Every institution that this server reaches, whatever its connector, and how people find one.

public struct Directory: Sendable {
    private let entries: [(institution: Institution, connector: any Connector)]

    /// - Parameter connectors: in the order in which their institutions are shown.
    public init(_ connectors: [any Connector]) {
        entries = connectors.flatMap { connector in connector.institutions.map { ($0, connector) } }
    }

    /// Finds an institution of a mode by its id.
    public func find(_ id: String, livemode: Bool) -> (institution: Institution, connector: any Connector)? {
        served(livemode).first { $0.institution.id == id }
    }

    /// Finds a test institution by its id or its exact name.
    public func find(named nameOrID: String) -> Institution? {
        served(false).first { $0.institution.id == nameOrID || $0.institution.name == nameOrID }?.institution
    }

    /// What is shown before anything is typed: all that there is where none is featured.
    /// - Parameter country: an ISO code in upper case; nil for every country.
    public func featured(in country: String?, livemode: Bool, limit: Int) -> [Institution] {
        let all = served(country, livemode)
        let featured = all.filter(\.featured)
        return Array((featured.isEmpty ? all : featured).prefix(limit))
    }

    /// Institutions whose name or address has all the words typed; those whose name begins with them come first.
    public func search(_ query: String, in country: String?, livemode: Bool, limit: Int) -> [Institution] {
        let words = query.lowercased().split { $0.isWhitespace }.map(String.init)
        guard !words.isEmpty else { return featured(in: country, livemode: livemode, limit: limit) }
        let found = served(country, livemode).filter { institution in
            let text = "\(institution.name) \(institution.domain)".lowercased()
            return words.allSatisfy { text.contains($0) }
        }
        let (first, rest) = (
            found.filter { $0.name.lowercased().hasPrefix(words[0]) },
            found.filter { !$0.name.lowercased().hasPrefix(words[0]) }
        )
        return Array((first + rest).prefix(limit))
    }

    /// Fictions are for test mode, and banks for live mode and for tests of their connectors.
    private func served(_ livemode: Bool) -> [(institution: Institution, connector: any Connector)] {
        livemode ? entries.filter { !$0.connector.isTest } : entries
    }

    private func served(_ country: String?, _ livemode: Bool) -> [Institution] {
        let all = served(livemode).map(\.institution)
        guard let country else { return all }
        return all.filter { $0.countries.isEmpty || $0.countries.contains(country) }
    }
}
