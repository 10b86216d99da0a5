//! Parameter schemas: whether parameters fit the JSON Schema of their deployment. The checks are behind the feature `schema`;
//! without it a schema that is to be enforced is refused, and one that is not is kept as it is.

use crate::model::{InvalidValue, Object, check_parameters};

/// Checks a deployment's schema, and its own parameters, which need not have all that the schema requires.
pub(super) fn check_deployment(
    enforce: bool,
    schema: Option<&Object>,
    parameters: &Object,
) -> Result<(), InvalidValue> {
    let Some(schema) = schema else { return Ok(()) };
    check_parameters(schema).map_err(|refused| InvalidValue {
        field: "parameter_openapi_schema",
        ..refused
    })?;
    if enforce && !schema.is_empty() {
        checks::fit(schema, parameters, checks::Required::Ignored)
    } else {
        Ok(())
    }
}

/// Checks the parameters of a run, the deployment's own included.
pub(super) fn check_run(
    enforce: bool,
    schema: Option<&Object>,
    parameters: &Object,
) -> Result<(), InvalidValue> {
    match schema {
        Some(schema) if enforce && !schema.is_empty() => {
            checks::fit(schema, parameters, checks::Required::Enforced)
        }
        _ => Ok(()),
    }
}

#[cfg(not(feature = "schema"))]
mod checks {
    use super::{InvalidValue, Object};

    pub(super) enum Required {
        Ignored,
        Enforced,
    }

    pub(super) fn fit(_: &Object, _: &Object, _: Required) -> Result<(), InvalidValue> {
        Err(InvalidValue::new(
            "enforce_parameter_schema",
            "true",
            "checking parameters takes the feature `schema`; build with it, or do not enforce the schema",
        ))
    }
}

#[cfg(feature = "schema")]
mod checks {
    use serde_json::Value;

    use super::{InvalidValue, Object};

    #[derive(Clone, Copy, Eq, PartialEq)]
    pub(super) enum Required {
        Ignored,
        Enforced,
    }

    pub(super) fn fit(schema: &Object, parameters: &Object, required: Required) -> Result<(), InvalidValue> {
        let mut schema = Value::Object(schema.clone());
        if required == Required::Ignored {
            forget_required(&mut schema);
        }
        check_references(&schema)?;
        let refused = |problem: &dyn std::fmt::Display| {
            let rule = "give a JSON Schema, draft 2020-12, that refers to nothing outside itself";
            InvalidValue::new("parameter_openapi_schema", &problem.to_string(), rule)
        };
        let validator = jsonschema::draft202012::options()
            .build(&schema)
            .map_err(|problem| refused(&problem))?;
        let parameters = Value::Object(parameters.clone());
        match validator.iter_errors(&parameters).next() {
            None => Ok(()),
            Some(problem) => {
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

    /// References that lead round in a circle, without anything between, would be followed for ever.
    fn check_references(schema: &Value) -> Result<(), InvalidValue> {
        let mut open = vec![schema];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(keys) => {
                    circle(schema, value)?;
                    open.extend(keys.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        Ok(())
    }

    fn circle(root: &Value, start: &Value) -> Result<(), InvalidValue> {
        let mut seen = Vec::new();
        let mut here = start;
        while let Some(reference) = here.get("$ref").and_then(Value::as_str) {
            let rule = "let no reference lead back to itself";
            if seen.contains(&reference) || seen.len() >= 100 {
                return Err(InvalidValue::new("parameter_openapi_schema", reference, rule));
            }
            seen.push(reference);
            match reference
                .strip_prefix('#')
                .and_then(|pointer| root.pointer(pointer))
            {
                Some(next) => here = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
