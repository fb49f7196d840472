//! As much of JSON Schema as the committed schemas use. A keyword that is not known here is an error, not ignored.

use serde_json::Value;

/// Where `value` breaks `schema`; nothing if it holds.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = vec![];
    check(schema, schema, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let number = || rule.as_f64().expect("a number");
        let ok = match keyword.as_str() {
            "$schema"
            | "$defs"
            | "title"
            | "description"
            | "required"
            | "properties"
            | "items"
            | "additionalProperties" => true,
            "$ref" => {
                let pointer = rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a local reference");
                check(root, root.pointer(pointer).expect("a definition"), value, at, found);
                true
            }
            "anyOf" => rule.as_array().expect("a list").iter().any(|schema| {
                let mut inner = vec![];
                check(root, schema, value, at, &mut inner);
                inner.is_empty()
            }),
            "type" => match rule {
                Value::Array(names) => names.iter().any(|name| is(value, name)),
                name => is(value, name),
            },
            "const" => value == rule,
            "enum" => rule.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|n| n >= number()),
            "maximum" => value.as_f64().is_none_or(|n| n <= number()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as f64 >= number()),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as f64 <= number()),
            "pattern" => {
                let regex = regex::Regex::new(rule.as_str().expect("a pattern")).expect("a pattern");
                value.as_str().is_none_or(|text| regex.is_match(text))
            }
            other => panic!("{at}: the keyword {other} is not known here"),
        };
        if !ok {
            found.push(format!("{at}: {value} breaks {keyword} {rule}"));
        }
    }
    if let (Some(list), Some(items)) = (value.as_array(), schema.get("items")) {
        list.iter().enumerate().for_each(|(i, value)| check(root, items, value, &format!("{at}[{i}]"), found));
    }
    let Some(object) = value.as_object() else { return };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(name.as_str().expect("a name")) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        match properties.and_then(|properties| properties.get(name)) {
            Some(schema) => check(root, schema, value, &format!("{at}.{name}"), found),
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                found.push(format!("{at}: {name} is not in the schema"));
            }
            None => {}
        }
    }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}
