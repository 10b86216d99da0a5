//! The checks themselves, by the crate `jsonschema`, fenced in: what could make it run long, deep or for ever is refused before it
//! is asked.

use std::collections::HashSet;

use serde_json::Value;

use super::steps::{self, Steps};
use super::{InvalidValue, Object, Required};

/// A schema, made ready.
#[derive(Debug)]
pub(super) struct Checks {
    schema: Value,
    validator: jsonschema::Validator,
}

/// Most bytes that one compiled pattern takes.
const PATTERN_BYTES: usize = 1 << 20;

impl Checks {
    pub(super) fn new(schema: &Object, required: Required) -> Result<Self, InvalidValue> {
        let mut schema = Value::Object(schema.clone());
        if required == Required::Ignored {
            forget_required(&mut schema);
        }
        check_shape(&schema)?;
        let refused = |problem: &dyn std::fmt::Display| {
            let rule = "give a JSON Schema, draft 2020-12, that refers to nothing outside itself";
            InvalidValue::new("parameter_openapi_schema", &problem.to_string(), rule)
        };
        // Patterns without look-around and back references, which are matched in linear time.
        let patterns = jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES);
        let validator = jsonschema::draft202012::options()
            .with_pattern_options(patterns)
            .build(&schema)
            .map_err(|problem| refused(&problem))?;
        Ok(Self { schema, validator })
    }

    pub(super) fn fit(&self, parameters: &Object) -> Result<(), InvalidValue> {
        let parameters = Value::Object(parameters.clone());
        if !Steps::new(&self.schema).afford(&parameters) {
            let rule = "checking them takes too many steps; give fewer, or a simpler schema";
            return Err(InvalidValue::new("parameters", "too many for their schema", rule));
        }
        let Err(problem) = self.validator.validate(&parameters) else {
            return Ok(());
        };
        let place = problem.instance_path().to_string();
        let problem = if place.is_empty() {
            problem.to_string()
        } else {
            format!("{place}: {problem}")
        };
        let rule = "make them fit the parameter schema of the deployment";
        Err(InvalidValue::new("parameters", &problem, rule))
    }
}

/// At the places where a schema can stand; elsewhere the word is a name like any other.
fn forget_required(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            if keys.get("required").is_some_and(Value::is_array) {
                keys.remove("required");
            }
            for (key, inner) in keys {
                if !matches!(key.as_str(), "const" | "enum" | "default" | "examples") {
                    forget_required(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget_required),
        _ => {}
    }
}

/// Every schema that can be reached refers to what is there, by a pointer from the root, and none applies itself to the same value
/// again.
fn check_shape(root: &Value) -> Result<(), InvalidValue> {
    let mut shape = Shape {
        root,
        open: HashSet::new(),
        done: HashSet::new(),
        below: vec![root],
    };
    while let Some(schema) = shape.below.pop() {
        shape.look(schema)?;
    }
    Ok(())
}

struct Shape<'a> {
    root: &'a Value,
    /// Schemas, by address, that are applied to one value and whose parts are being looked at.
    open: HashSet<*const Value>,
    done: HashSet<*const Value>,
    /// Schemas of values inside.
    below: Vec<&'a Value>,
}

impl<'a> Shape<'a> {
    fn look(&mut self, schema: &'a Value) -> Result<(), InvalidValue> {
        let refuse = |what: &str, rule| Err(InvalidValue::new("parameter_openapi_schema", what, rule));
        let here = std::ptr::from_ref(schema);
        if self.done.contains(&here) {
            return Ok(());
        }
        let name = schema.get("$ref").and_then(Value::as_str).unwrap_or("a schema");
        if !self.open.insert(here) {
            return refuse(name, "let no reference lead back to itself");
        }
        if self.open.len() > steps::BESIDE_MOST {
            return refuse(name, "apply at most 64 schemas inside each other to one value");
        }
        for key in ["$dynamicRef", "$recursiveRef"] {
            if schema.get(key).is_some() {
                return refuse(key, "refer by `$ref`");
            }
        }
        if schema.get("$id").is_some() && !std::ptr::eq(schema, self.root) {
            return refuse("$id", "name the whole schema alone, if any");
        }
        if schema.get("$ref").is_some() && steps::target(self.root, schema).is_none() {
            return refuse(
                name,
                "refer to a part of this schema by a pointer, such as \"#/$defs/part\"",
            );
        }
        let mut beside = Vec::new();
        steps::beside(self.root, schema, |inner| beside.push(inner));
        for inner in beside {
            self.look(inner)?;
        }
        steps::below(schema, |_, inner| self.below.push(inner));
        self.open.remove(&here);
        self.done.insert(here);
        Ok(())
    }
}
