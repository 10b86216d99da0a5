//! What checking a value against a schema costs, counted before it is done.
//!
//! Schemas can share parts, so a short one can be applied a great many times: twice in each of forty parts that refer to each other, it is
//! applied 2^40 times. How often each part meets each value is counted once for each pair, in sums that saturate.

use std::collections::HashMap;

use serde_json::Value;

/// Most steps that a check may take: a second or so.
const STEPS_MOST: u64 = 10_000_000;
/// Most pairs of a schema and a value that are looked at.
const PAIRS_MOST: usize = 500_000;
/// Schemas that are applied to one value, one inside the other.
pub(super) const BESIDE_MOST: usize = 64;
/// Schemas and values inside each other, together: what bounds recursion.
const DEPTH_MOST: usize = 250;

/// Where a value lies in the one that a schema is applied to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Where<'a> {
    /// Under this key.
    Key(&'a str),
    /// Under any key, or at any place.
    Any,
    /// At this place of a list.
    At(usize),
}

/// What `$ref` refers to.
pub(super) fn target<'a>(root: &'a Value, schema: &Value) -> Option<&'a Value> {
    let reference = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
    // Escaped characters would have to be read before the pointer is.
    root.pointer(reference).filter(|_| !reference.contains('%'))
}

/// The schemas that are applied to the same value.
pub(super) fn beside<'a>(root: &'a Value, schema: &'a Value, mut each: impl FnMut(&'a Value)) {
    let Value::Object(keys) = schema else { return };
    if let Some(target) = target(root, schema) {
        each(target);
    }
    for (key, inner) in keys {
        match (key.as_str(), inner) {
            ("allOf" | "anyOf" | "oneOf", Value::Array(items)) => items.iter().for_each(&mut each),
            ("not" | "if" | "then" | "else", inner) => each(inner),
            ("dependentSchemas" | "dependencies", Value::Object(inner)) => inner.values().for_each(&mut each),
            _ => {}
        }
    }
}

/// The schemas that are applied to values inside, and to which.
pub(super) fn below<'a>(schema: &'a Value, mut each: impl FnMut(Where<'a>, &'a Value)) {
    let Value::Object(keys) = schema else { return };
    for (key, inner) in keys {
        match (key.as_str(), inner) {
            ("properties", Value::Object(inner)) => {
                inner.iter().for_each(|(key, inner)| each(Where::Key(key), inner));
            }
            ("patternProperties", Value::Object(inner)) => {
                inner.values().for_each(|inner| each(Where::Any, inner));
            }
            ("prefixItems", Value::Array(inner)) => {
                (inner.iter().enumerate()).for_each(|(at, inner)| each(Where::At(at), inner));
            }
            (
                "additionalProperties"
                | "unevaluatedProperties"
                | "propertyNames"
                | "items"
                | "contains"
                | "unevaluatedItems"
                | "additionalItems",
                inner,
            ) => each(Where::Any, inner),
            _ => {}
        }
    }
}

/// Counts.
pub(super) struct Steps<'a> {
    root: &'a Value,
    /// Steps of a schema, by address, on a value, by address.
    known: HashMap<(*const Value, *const Value), u64>,
    /// How large the parts of a schema are that are not schemas.
    sizes: HashMap<*const Value, u64>,
    looked: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            known: HashMap::new(),
            sizes: HashMap::new(),
            looked: 0,
        }
    }

    /// Whether a check of this value stays within bounds.
    pub(super) fn afford(&mut self, value: &'a Value) -> bool {
        self.count(self.root, value, 0) <= STEPS_MOST
    }

    fn count(&mut self, schema: &'a Value, value: &'a Value, depth: usize) -> u64 {
        let pair = (std::ptr::from_ref(schema), std::ptr::from_ref(value));
        if let Some(&steps) = self.known.get(&pair) {
            return steps;
        }
        self.looked += 1;
        if depth >= DEPTH_MOST || self.known.len() >= PAIRS_MOST || self.looked > STEPS_MOST {
            return u64::MAX;
        }
        let mut steps = self.own(schema, value);
        let mut inner: Vec<&Value> = Vec::new();
        beside(self.root, schema, |schema| inner.push(schema));
        for schema in inner {
            steps = steps.saturating_add(self.count(schema, value, depth + 1));
        }
        let mut inner: Vec<(Where<'_>, &Value)> = Vec::new();
        below(schema, |place, schema| inner.push((place, schema)));
        for (place, schema) in inner {
            self.looked += 1;
            let mut add = |found: &'a Value| {
                steps = steps.saturating_add(self.count(schema, found, depth + 1));
            };
            match (place, value) {
                (Where::Key(key), Value::Object(fields)) => fields.get(key).into_iter().for_each(&mut add),
                (Where::Any, Value::Object(fields)) => fields.values().for_each(&mut add),
                (Where::Any, Value::Array(items)) => items.iter().for_each(&mut add),
                (Where::At(at), Value::Array(items)) => items.get(at).into_iter().for_each(&mut add),
                _ => {}
            }
            if steps > STEPS_MOST {
                break;
            }
        }
        self.known.insert(pair, steps);
        steps
    }

    /// The steps that a schema's own words take on a value: texts are searched, members compared.
    fn own(&mut self, schema: &'a Value, value: &Value) -> u64 {
        let Value::Object(keys) = schema else { return 1 };
        let size = *self.sizes.entry(std::ptr::from_ref(schema)).or_insert_with(|| {
            let listed = ["enum", "const", "required", "dependentRequired"];
            1 + keys.len() as u64
                + listed
                    .iter()
                    .filter_map(|key| keys.get(*key))
                    .map(values)
                    .sum::<u64>()
        });
        let length = match value {
            Value::String(text) => text.len() as u64 / 16,
            // Equal members are looked for by comparing.
            Value::Array(_) if keys.contains_key("uniqueItems") => 16 * values(value),
            Value::Object(fields) if keys.contains_key("patternProperties") => {
                let patterns = keys.get("patternProperties").and_then(Value::as_object);
                patterns.map_or(0, |patterns| patterns.len() as u64 * fields.len() as u64)
            }
            _ => 0,
        };
        size + length
    }
}

/// How many values there are in a value.
fn values(value: &Value) -> u64 {
    let (mut open, mut count) = (vec![value], 0);
    while let Some(value) = open.pop() {
        count += 1;
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    count
}
