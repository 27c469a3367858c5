//! Traits: what messages and operations have in common, merged as each version says.

use serde_json::Value;

use crate::document::Version;

/// An object with its traits merged in (JSON Merge Patch, RFC 7396). In 2.x a later trait changes
/// what is there, the object too; in 3.x what the object itself says stands.
pub(crate) fn merged(object: &Value, traits: &[&Value], version: Version) -> Value {
    let own = std::iter::once(object);
    let shared = traits.iter().copied();
    let parts: Vec<&Value> = match version {
        Version::V2 => own.chain(shared).collect(),
        Version::V3_0 | Version::V3_1 => shared.chain(own).collect(),
    };
    let mut merged = parts[0].clone();
    for part in &parts[1..] {
        patch(&mut merged, part);
    }
    if let Some(members) = merged.as_object_mut() {
        members.remove("traits");
    }
    merged
}

fn patch(target: &mut Value, with: &Value) {
    let Value::Object(with) = with else {
        *target = with.clone();
        return;
    };
    if !target.is_object() || target.get("$ref").is_some() || with.contains_key("$ref") {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in with {
        match members.get_mut(name) {
            _ if value.is_null() => drop(members.remove(name)),
            Some(member) => patch(member, value),
            None => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trait_of_2_x_changes_what_the_message_says() {
        let (message, shared) = (json!({"name": "own"}), json!({"name": "shared", "title": "T"}));
        let merged = merged(&message, &[&shared], Version::V2);
        assert_eq!(merged, json!({"name": "shared", "title": "T"}));
    }

    #[test]
    fn a_trait_of_3_x_says_only_what_the_message_does_not() {
        let (message, shared) = (json!({"name": "own"}), json!({"name": "shared", "title": "T"}));
        let merged = merged(&message, &[&shared], Version::V3_0);
        assert_eq!(merged, json!({"name": "own", "title": "T"}));
    }

    #[test]
    fn objects_are_merged_and_a_later_trait_counts_more_than_an_earlier_one() {
        let message = json!({"headers": {"properties": {"a": true}}, "traits": []});
        let (first, second) = (
            json!({"headers": {"properties": {"b": 1, "c": 1}}}),
            json!({"headers": {"properties": {"c": 2}}}),
        );
        for version in [Version::V2, Version::V3_1] {
            let merged = merged(&message, &[&first, &second], version);
            assert_eq!(merged["headers"]["properties"], json!({"a": true, "b": 1, "c": 2}));
            assert!(merged.get("traits").is_none(), "they are used up");
        }
    }
}
