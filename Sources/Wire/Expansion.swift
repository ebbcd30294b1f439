/// `expand[]`: which references a response shows as whole objects.
///
/// The paths asked for are held against the shape of the object before anything is read or written, so that a wrong one
/// changes nothing. A path may go through members and, by `data`, through lists; it ends at a reference.
public struct Expansion: Sendable, Equatable {
    private var members: [String: Expansion] = [:]
    /// The resources of the objects that are shown.
    public private(set) var resources: Set<String> = []

    public init() {}

    public static let maximumDepth = 4
    public static let none = Expansion()

    /// What stands under `name`: nil where nothing below or at it is expanded.
    public subscript(name: String) -> Expansion? { members[name] }

    public var isEmpty: Bool { members.isEmpty }

    /// Every member of an object, as far as a path can lead.
    public indirect enum Shape: Sendable {
        /// A value that is no object.
        case leaf
        /// An object that is always shown, with its members.
        case object([String: Shape])
        /// A reference to an object of this shape, and the resource that it is of, which a key may not be allowed to
        /// read. A function, since objects refer to each other.
        case reference(resource: String, @Sendable () -> Shape)
    }

    /// - Throws: the API's error for the first path that is too deep, leads nowhere, or ends at no reference.
    public init(_ form: FormMap, of shape: Shape) throws(StripeError) {
        guard let node = form["expand"] else { return }
        guard case .map(let map) = node, map.isList else {
            if node == .value("") { return }
            throw .badArray("expand")
        }
        guard map.members.count <= 100 else { throw .tooMany("expand", maximum: 100) }
        for (index, element) in map.elements.enumerated() {
            guard case .value(let path) = element else { throw .badString("expand[\(index)]") }
            guard path.utf8.count <= 500 else { throw .tooLong("expand[\(index)]", path, maximum: 500) }
            let segments = path.split(separator: ".", omittingEmptySubsequences: false)
            var found: Set<String> = []
            try insert(segments, whole: path, shape, &found)
            resources.formUnion(found)
        }
    }

    private mutating func insert(
        _ segments: [Substring],
        whole: String,
        _ shape: Shape,
        _ resources: inout Set<String>
    ) throws(StripeError) {
        guard segments.count <= Self.maximumDepth else {
            throw StripeError(
                code: "property_expansion_max_depth",
                param: "expand",
                message: "You cannot expand more than \(Self.maximumDepth) levels of a property. Property: \(whole)"
            )
        }
        try insert(segments[...], whole: whole, shape, isReference: false, &resources)
    }

    private mutating func insert(
        _ segments: ArraySlice<Substring>,
        whole: String,
        _ shape: Shape,
        isReference: Bool,
        _ resources: inout Set<String>
    ) throws(StripeError) {
        guard let head = segments.first else {
            guard isReference else {
                throw StripeError(param: "expand", message: "This property cannot be expanded (\(whole)).")
            }
            return
        }
        guard case .object(let known) = shape, let next = known[String(head)] else {
            if whole == "total_count" {
                throw StripeError(param: "expand", message: "This property cannot be included (total_count)")
            }
            throw StripeError(
                param: "expand",
                message: "This property cannot be expanded because it doesn't exist: \(whole)."
            )
        }
        var branch = members[String(head)] ?? Expansion()
        switch next {
        case .reference(let resource, let target):
            resources.insert(resource)
            try branch.insert(segments.dropFirst(), whole: whole, target(), isReference: true, &resources)
        case .leaf, .object:
            try branch.insert(segments.dropFirst(), whole: whole, next, isReference: false, &resources)
        }
        members[String(head)] = branch
    }
}
