//! The schema that was proposed for event definitions is a part of ours, field by field.

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, ServiceDocument, Type, TypeKind, TypeSystemDefinition,
};

use crate::admin::facts::Bench;

/// The proposal, as it was written, but for a field that was declared without its type.
const PROPOSED: &str = r#"
scalar EventAPISubscriptionAttributes # -> map[string]string

type EventAPIDefinition {
    id: ID!
    """group allows you to find the same API but in different version"""
    group: String
    spec: EventAPISpec!
    auth: Auth
    externalSubscriptions: [EventAPISubscription!]!
    version: Version
}

type EventAPISpec {
    data: CLOB
    type: EventAPISpecType!
    format: SpecFormat
    fetchRequest: FetchRequest
}

type EventAPISubscription {
    url: String!
    auth: Auth
    topic: String!
    attributes: EventAPISubscriptionAttributes
}


enum EventAPISpecType {
    ASYNC_API
}

input EventAPIDefinitionInput {
    spec: EventAPISpecInput!
    group: String
    auth: AuthInput
    externalSubscriptions: [EventAPISubscriptionInput!]
    version: VersionInput
}

input EventAPISpecInput {
    data: CLOB
    eventSpecType: EventAPISpecType!
    fetchRequest: FetchRequestInput
}

input EventAPISubscriptionInput {
    url: String!
    auth: AuthInput
    topic: String!
    attributes: EventAPISubscriptionAttributes
}
"#;

/// What the schema of that time had around it (Compass, July 2019).
const AROUND: &str = r"
enum SpecFormat { YAML JSON }
enum FetchMode { SINGLE PACKAGE INDEX }
enum FetchRequestStatusCondition { INITIAL SUCCEEDED FAILED }
type Version { value: String! deprecated: Boolean deprecatedSince: String forRemoval: Boolean }
type FetchRequest { url: String! auth: Auth mode: FetchMode! filter: String status: FetchRequestStatus! }
type FetchRequestStatus { condition: FetchRequestStatusCondition! timestamp: Timestamp! }
type PageInfo { startCursor: PageCursor! endCursor: PageCursor! hasNextPage: Boolean! }
type EventAPIDefinitionPage { data: [EventAPIDefinition!]! pageInfo: PageInfo! totalCount: Int! }
type EventAPIDefinition { applicationID: ID! name: String! description: String }
type Application { id: ID! name: String! description: String labels(key: String): Labels!
    eventAPIs(group: String, first: Int = 100, after: PageCursor): EventAPIDefinitionPage! }
type Runtime { id: ID! name: String! description: String labels(key: String): Labels! }
input VersionInput { value: String! deprecated: Boolean = false deprecatedSince: String
    forRemoval: Boolean = false }
input FetchRequestInput { url: String! auth: AuthInput mode: FetchMode = SINGLE filter: String }
input EventAPIDefinitionInput { name: String! description: String }
input EventAPISpecInput { format: SpecFormat! }
input ApplicationInput { name: String! description: String labels: Labels
    eventAPIs: [EventAPIDefinitionInput!] }
input RuntimeInput { name: String! description: String labels: Labels }
type Mutation {
    createApplication(in: ApplicationInput!): Application!
    updateApplication(id: ID!, in: ApplicationInput!): Application!
    deleteApplication(id: ID!): Application
    createRuntime(in: RuntimeInput!): Runtime!
    updateRuntime(id: ID!, in: RuntimeInput!): Runtime!
    deleteRuntime(id: ID!): Runtime
    addEventAPI(applicationID: ID!, in: EventAPIDefinitionInput!): EventAPIDefinition!
    updateEventAPI(id: ID!, in: EventAPIDefinitionInput!): EventAPIDefinition!
    deleteEventAPI(id: ID!): EventAPIDefinition
    refetchEventAPISpec(eventID: ID!): EventAPISpec
}
type Query {
    applications(first: Int = 100, after: PageCursor): ApplicationPage!
    application(id: ID!): Application
    applicationsForRuntime(runtimeID: ID!, first: Int = 100, after: PageCursor): ApplicationPage!
    runtimes(first: Int = 100, after: PageCursor): RuntimePage!
    runtime(id: ID!): Runtime
}
";

#[tokio::test]
async fn the_proposed_schema_is_a_part_of_ours() {
    let ours = parse_schema(Bench::new().schema.sdl()).unwrap();
    let mut count = 0;
    for proposal in [PROPOSED, AROUND] {
        count += compare(&parse_schema(proposal).unwrap(), &ours);
    }
    assert!(count > 80, "only {count} fields and arguments were compared");
}

#[tokio::test]
async fn a_field_that_is_missing_or_of_another_type_would_be_noticed() {
    let ours = parse_schema(Bench::new().schema.sdl()).unwrap();
    for other in [
        "type EventAPISpec { checksum: String }",
        "type EventAPISpec { data: Int }",
        "type Version { deprecatedSince: String! }",
        "input EventAPISpecInput { eventSpecType: EventAPISpecType }",
        "enum EventAPISpecType { OPEN_API }",
        "scalar Nothing",
        "type Mutation { addEventAPI(app: ID!): EventAPIDefinition! }",
    ] {
        let proposal = parse_schema(other).unwrap();
        let compared = std::panic::catch_unwind(|| compare(&proposal, &ours));
        assert!(compared.is_err(), "{other}");
    }
}

/// Stops the test where `ours` lacks something of `proposal`; says how much was compared.
fn compare(proposal: &ServiceDocument, ours: &ServiceDocument) -> usize {
    let types = |document: &ServiceDocument| -> Vec<(String, TypeKind)> {
        let types = document.definitions.iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(ty) => {
                Some((ty.node.name.node.to_string(), ty.node.kind.clone()))
            }
            _ => None,
        });
        types.collect()
    };
    let ours = types(ours);
    let mut count = 0;
    for (name, proposed) in types(proposal) {
        let found = ours.iter().find(|(known, _)| *known == name);
        let (_, found) = found.unwrap_or_else(|| panic!("there is no {name}"));
        count += compare_type(&name, &proposed, found);
    }
    count
}

fn compare_type(name: &str, proposed: &TypeKind, found: &TypeKind) -> usize {
    match (proposed, found) {
        (TypeKind::Scalar, TypeKind::Scalar) => 1,
        (TypeKind::Enum(proposed), TypeKind::Enum(found)) => {
            for value in &proposed.values {
                let is_there = found.values.iter().any(|one| one.node.value == value.node.value);
                assert!(is_there, "{name} lacks {}", value.node.value.node);
            }
            proposed.values.len()
        }
        (TypeKind::InputObject(proposed), TypeKind::InputObject(found)) => {
            for field in &proposed.fields {
                let at = format!("{name}.{}", field.node.name.node);
                let ours = found.fields.iter().find(|one| one.node.name == field.node.name);
                let ours = ours.unwrap_or_else(|| panic!("there is no {at}"));
                assert!(takes(&ours.node.ty.node, &field.node.ty.node), "{at}");
            }
            proposed.fields.len()
        }
        (TypeKind::Object(proposed), TypeKind::Object(found)) => {
            let mut count = 0;
            for field in &proposed.fields {
                let at = format!("{name}.{}", field.node.name.node);
                let ours = found.fields.iter().find(|one| one.node.name == field.node.name);
                let ours = &ours.unwrap_or_else(|| panic!("there is no {at}")).node;
                assert!(takes(&field.node.ty.node, &ours.ty.node), "{at} is {}", ours.ty.node);
                for argument in &field.node.arguments {
                    let at = format!("{at}({})", argument.node.name.node);
                    let mut known = ours.arguments.iter();
                    let known = known.find(|one| one.node.name == argument.node.name);
                    let known = known.unwrap_or_else(|| panic!("there is no {at}"));
                    assert!(takes(&known.node.ty.node, &argument.node.ty.node), "{at}");
                }
                count += 1 + field.node.arguments.len();
            }
            count
        }
        _ => panic!("{name} is of another kind"),
    }
}

/// Whether every value of `given` is one of `wanted`.
fn takes(wanted: &Type, given: &Type) -> bool {
    // Cursors are texts, and Compass gave them a name of their own.
    let name =
        |name: &str| if name == "PageCursor" { "String".to_owned() } else { name.to_owned() };
    let same = match (&wanted.base, &given.base) {
        (BaseType::Named(wanted), BaseType::Named(given)) => name(wanted) == name(given),
        (BaseType::List(wanted), BaseType::List(given)) => takes(wanted, given),
        _ => false,
    };
    same && (wanted.nullable || !given.nullable)
}
