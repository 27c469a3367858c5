//! What the audit log shows of the arguments of an operation: names and places, nothing that may
//! be a secret.

use async_graphql::extensions::ExtensionContext;
use async_graphql::parser::types::Field;
use async_graphql::{Value as ConstValue, Variables};
use serde_json::{Map, Value, json};

/// The arguments and members whose values are shown; of all others, only that they were given.
const SHOWN: [&str; 27] = [
    "appID",
    "application",
    "applicationID",
    "contentMode",
    "dryRun",
    "eventID",
    "eventType",
    "eventTypeVersion",
    "filter",
    "group",
    "id",
    "maxInFlight",
    "name",
    "namespace",
    "ordering",
    "payloadCheck",
    "reasonCode",
    "roles",
    "serial",
    "source",
    "sourceId",
    "startAt",
    "subscription",
    "toSequence",
    "toTime",
    "topic",
    "validDays",
];
/// The argument whose members are looked at one by one.
const INPUT: &str = "in";
/// What stands for a value that is not shown.
const HIDDEN: &str = "(not shown)";
/// The longest text that is shown, in characters.
const CHARACTERS_MAX: usize = 256;
/// The longest list that is shown.
const LIST_MAX: usize = 32;

/// The arguments of `field`.
pub(super) fn arguments(ctx: &ExtensionContext<'_>, field: &Field) -> Value {
    let value = |name: async_graphql::Name| {
        let variables = ctx.data_opt::<Variables>();
        let given = variables.and_then(|variables| variables.get(&name));
        Ok::<_, ()>(given.cloned().unwrap_or_default())
    };
    let arguments = field.arguments.iter().filter_map(|(name, text)| {
        let given = text.node.clone().into_const_with(value).ok()?;
        Some((name.node.to_string(), shown(&name.node, given)))
    });
    let arguments: Map<_, _> = arguments.collect();
    if arguments.is_empty() { Value::Null } else { Value::Object(arguments) }
}

/// What an operation is done to: the name among its shown arguments.
pub(super) fn subject(arguments: &Value) -> Option<String> {
    let named = ["name", "subscription", "id", "eventID", "serial", "application", "topic"];
    let places = named.iter().map(|name| &arguments[name]);
    places.chain([&arguments[INPUT]["name"]]).find_map(Value::as_str).map(str::to_owned)
}

fn shown(name: &str, value: ConstValue) -> Value {
    match value {
        ConstValue::Object(members) if name == INPUT => {
            let member = |(name, value): (async_graphql::Name, ConstValue)| {
                (name.to_string(), shown(&name, value))
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        ConstValue::List(list) if !SHOWN.contains(&name) => json!({ "count": list.len() }),
        value if SHOWN.contains(&name) => plain(value),
        _ => HIDDEN.into(),
    }
}

/// A value of a type that has an end.
fn plain(value: ConstValue) -> Value {
    match value {
        ConstValue::String(text) => text.chars().take(CHARACTERS_MAX).collect::<String>().into(),
        ConstValue::Number(number) => Value::Number(number),
        ConstValue::Boolean(truth) => truth.into(),
        ConstValue::Enum(name) => name.to_string().into(),
        ConstValue::Null => Value::Null,
        ConstValue::List(list) => list.into_iter().take(LIST_MAX).map(plain).collect(),
        ConstValue::Object(_) | ConstValue::Binary(_) => HIDDEN.into(),
    }
}
