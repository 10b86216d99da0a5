//! What names, tags and parameters may be. The reference's rules, made the same for every way in.

use super::{Object, Text};

/// Longest name, in bytes. The reference sets none; a bound keeps one caller from filling the memory.
pub const MAX_NAME: usize = 1_000;
/// Longest description, version, path or entry point, in bytes.
pub const MAX_TEXT: usize = 10_000;
/// Most tags on one deployment or run.
pub const MAX_TAGS: usize = 100;
/// Largest compact JSON of `parameters`, in bytes (the reference's `server.api.max_parameter_size`).
pub const MAX_PARAMETERS: usize = 524_288;

/// Deepest nesting of `parameters` and labels: what every JSON reader takes.
const MAX_DEPTH: usize = 100;

/// A field holds a value that its rule does not allow.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} {value:?} is not allowed: {rule}")]
pub struct InvalidValue {
    /// The field, as in the JSON form.
    pub field: &'static str,
    /// What was given, shortened when long.
    pub value: String,
    /// What the field takes.
    pub rule: &'static str,
}

impl InvalidValue {
    pub(crate) fn new(field: &'static str, value: &str, rule: &'static str) -> Self {
        let mut shown: String = value.chars().take(60).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self {
            field,
            value: shown,
            rule,
        }
    }
}

const BANNED: &[char] = &['/', '%', '&', '>', '<'];

/// The reference's *Name*: one or more characters, none of `/ % & > <`.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), InvalidValue> {
    if name.is_empty() {
        return Err(InvalidValue::new(field, name, "give it at least one character"));
    }
    check_name_or_empty(field, name)
}

/// The reference's `NameOrEmpty`.
pub(crate) fn check_name_or_empty(field: &'static str, name: &str) -> Result<(), InvalidValue> {
    if name.contains(BANNED) {
        return Err(InvalidValue::new(
            field,
            name,
            "leave out the characters / % & > <",
        ));
    }
    if name.len() > MAX_NAME {
        return Err(InvalidValue::new(field, name, "keep it within 1,000 bytes"));
    }
    Ok(())
}

pub(crate) fn check_tags(tags: &[Text]) -> Result<(), InvalidValue> {
    if tags.len() > MAX_TAGS {
        return Err(InvalidValue::new(
            "tags",
            &format!("{} tags", tags.len()),
            "give at most 100 tags",
        ));
    }
    match tags.iter().find(|tag| tag.len() > MAX_NAME) {
        Some(tag) => Err(InvalidValue::new("tags", tag, "keep each tag within 1,000 bytes")),
        None => Ok(()),
    }
}

/// What every entity that is read from a document is bounded by, whatever rules its names had where it was made.
pub(crate) fn check_kept(name: &str, tags: &[Text], objects: &[&Object]) -> Result<(), InvalidValue> {
    if name.len() > MAX_NAME {
        return Err(InvalidValue::new("name", name, "keep it within 1,000 bytes"));
    }
    check_tags(tags)?;
    objects.iter().try_for_each(|object| check_parameters(object))
}

/// Descriptions, versions and the like.
pub(crate) fn check_text(text: Option<&Text>) -> Result<(), InvalidValue> {
    match text {
        Some(text) if text.len() > MAX_TEXT => {
            let size = format!("{} bytes", text.len());
            Err(InvalidValue::new("text", &size, "keep it within 10,000 bytes"))
        }
        _ => Ok(()),
    }
}

/// The reference's rule: nothing, or both parts.
pub(crate) fn check_template(template: &Object) -> Result<(), InvalidValue> {
    check_parameters(template).map_err(|refused| InvalidValue {
        field: "base_job_template",
        ..refused
    })?;
    if template.is_empty()
        || ["job_configuration", "variables"]
            .iter()
            .all(|part| template.get(*part).is_some_and(serde_json::Value::is_object))
    {
        return Ok(());
    }
    let keys = template.keys().cloned().collect::<Vec<_>>().join(", ");
    let rule = "leave it empty, or give it the objects `job_configuration` and `variables`";
    Err(InvalidValue::new("base_job_template", &keys, rule))
}

/// Measures without building the text.
pub(crate) fn check_parameters(parameters: &Object) -> Result<(), InvalidValue> {
    if parameters.is_empty() {
        return Ok(());
    }
    check_depth(parameters)?;
    check_size("parameters", parameters)
}

/// What a handler returned is bounded like parameters are.
pub(crate) fn check_result(result: &serde_json::Value) -> Result<(), InvalidValue> {
    if !matches!(result, serde_json::Value::String(_)) && !result.is_array() && !result.is_object() {
        return Ok(());
    }
    if any_deep(vec![(result, 1)]) {
        return Err(InvalidValue::new(
            "result",
            "nested deeper",
            "nest it at most 100 deep",
        ));
    }
    check_size("result", result)
}

fn check_size(field: &'static str, value: &impl serde::Serialize) -> Result<(), InvalidValue> {
    struct Meter(usize);
    impl std::io::Write for Meter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut meter = Meter(0);
    serde_json::to_writer(&mut meter, value).expect("a meter takes every byte");
    if meter.0 <= MAX_PARAMETERS {
        return Ok(());
    }
    let size = format!("{} bytes", meter.0);
    Err(InvalidValue::new(
        field,
        &size,
        "keep its JSON within 524,288 bytes",
    ))
}

/// Comes before anything that walks or copies a caller's value by recursion, which is what too deep a one would break.
pub(crate) fn check_depth(parameters: &Object) -> Result<(), InvalidValue> {
    if is_deep(parameters) {
        let rule = "nest them at most 100 deep";
        return Err(InvalidValue::new("parameters", "nested deeper", rule));
    }
    Ok(())
}

fn is_deep(parameters: &Object) -> bool {
    any_deep(parameters.values().map(|value| (value, 2)).collect())
}

/// Whether something is nested too deep below these values, which lie so deep themselves.
fn any_deep(mut open: Vec<(&serde_json::Value, usize)>) -> bool {
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH && (value.is_array() || value.is_object()) {
            return true;
        }
        match value {
            serde_json::Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            serde_json::Value::Object(fields) => open.extend(fields.values().map(|field| (field, depth + 1))),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_field_the_value_and_the_rule() {
        let refused = check_name("name", "a/b").unwrap_err();
        assert_eq!(
            refused.to_string(),
            r#"name "a/b" is not allowed: leave out the characters / % & > <"#
        );
        assert!(check_name("name", "").is_err());
        assert!(check_name_or_empty("name", "").is_ok());
        assert!(
            check_name("name", " ").is_ok(),
            "the reference allows a single space"
        );
        assert!(
            check_name("name", &"x".repeat(MAX_NAME + 1))
                .unwrap_err()
                .value
                .ends_with('…')
        );
    }

    #[test]
    fn parameters_are_measured_as_compact_json() {
        let with = |n: usize| Object::from_iter([("k".to_owned(), "x".repeat(n).into())]);
        let frame = r#"{"k":""}"#.len();
        assert!(check_parameters(&with(MAX_PARAMETERS - frame)).is_ok());
        assert!(check_parameters(&with(MAX_PARAMETERS - frame + 1)).is_err());
    }
}
