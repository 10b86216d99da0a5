//! Parameter schemas: whether parameters fit the JSON Schema of their deployment. The checks are behind the feature `schema`;
//! without it a schema that is to be enforced is refused, and one that is not is kept as it is.
//!
//! Nothing is checked while the engine's lock is held. A call that must know whether some parameters fit looks among what was
//! *vouched* for; if it is not there, the call ends unchanged, the check is made without the lock, and the call is made again. A
//! schema is made ready once for all runs of its deployment.

use std::sync::{Arc, OnceLock};

use super::Engine;
use super::core::Core;
use super::error::Error;
use crate::ids::DeploymentId;
use crate::model::{
    DeploymentPatch, InvalidValue, NewDeployment, NewRun, Object, check_depth, check_parameters,
};

#[cfg(feature = "schema")]
mod checks;
#[cfg(feature = "schema")]
mod steps;

#[cfg(not(feature = "schema"))]
mod checks {
    use super::{InvalidValue, Object, Required};

    #[derive(Debug)]
    pub(super) struct Checks;

    impl Checks {
        pub(super) fn new(_: &Object, _: Required) -> Result<Self, InvalidValue> {
            Err(InvalidValue::new(
                "enforce_parameter_schema",
                "true",
                "checking parameters takes the feature `schema`; build with it, or do not enforce the schema",
            ))
        }

        #[expect(clippy::unused_self, reason = "the face of what the feature brings")]
        #[expect(
            clippy::unnecessary_wraps,
            reason = "as with the feature, where parameters may not fit"
        )]
        pub(super) fn fit(&self, _: &Object) -> Result<(), InvalidValue> {
            Ok(())
        }
    }
}

/// Whether parameters must have all that the schema requires: those of a deployment need not, since its runs add their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Required {
    Ignored,
    Enforced,
}

/// A schema that is enforced, made ready when it is first needed.
#[derive(Debug)]
pub(crate) struct Schema {
    text: Object,
    required: Required,
    checks: OnceLock<Result<checks::Checks, InvalidValue>>,
}

impl Schema {
    /// The schema that the runs of a deployment must fit; none if it enforces none.
    pub(super) fn of_runs(enforce: bool, text: Option<&Object>) -> Option<Arc<Self>> {
        Self::new(enforce, text, Required::Enforced)
    }

    fn new(enforce: bool, text: Option<&Object>, required: Required) -> Option<Arc<Self>> {
        let text = text.filter(|text| enforce && !text.is_empty())?.clone();
        Some(Arc::new(Self {
            text,
            required,
            checks: OnceLock::new(),
        }))
    }

    /// Whether this is the schema of these runs still.
    pub(super) fn is_of_runs(&self, enforce: bool, text: Option<&Object>) -> bool {
        enforce && text == Some(&self.text)
    }

    fn fit(&self, parameters: &Object) -> Result<(), InvalidValue> {
        let checks = self
            .checks
            .get_or_init(|| checks::Checks::new(&self.text, self.required));
        checks.as_ref().map_err(Clone::clone)?.fit(parameters)
    }
}

/// Parameters, and the schema that they are to fit.
#[derive(Debug)]
struct Fit {
    schema: Arc<Schema>,
    parameters: Object,
}

impl Fit {
    fn is(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.schema, &other.schema)
            || (self.schema.required == other.schema.required && self.schema.text == other.schema.text);
        same && self.parameters == other.parameters
    }
}

/// What was checked without the lock, for one call.
#[derive(Debug, Default)]
pub(crate) struct Vouched {
    checked: Vec<(Fit, Result<(), InvalidValue>)>,
    open: Vec<Fit>,
}

impl Vouched {
    /// Whether the answer is known; if not, it will be when the call is made again.
    fn knows(&mut self, fit: Fit) -> bool {
        let known = self.checked.iter().any(|(other, _)| other.is(&fit));
        if !known {
            self.open.push(fit);
        }
        known
    }

    fn answer(&self, fit: &Fit) -> Result<(), InvalidValue> {
        let found = self.checked.iter().find(|(other, _)| other.is(fit));
        found.map_or(Ok(()), |(_, answer)| answer.clone())
    }
}

/// Why what is given is there.
const ONCE: &str = "it is taken by the call that ends the loop";

impl Engine {
    /// Makes a call with `given`, when all that `asks` names of it has been checked.
    pub(super) fn vouching<G, T>(
        &self,
        given: G,
        asks: impl Fn(&Core, &G, &mut Vouched) -> Result<(), Error>,
        call: impl Fn(&mut Core, G, &Vouched) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Stays here until it is taken: what is given is large, and is mostly taken at once.
        let (mut given, mut vouched) = (Some(given), Vouched::default());
        loop {
            let answer = self.call(|core| {
                asks(core, given.as_ref().expect(ONCE), &mut vouched)?;
                if !vouched.open.is_empty() {
                    return Ok(None);
                }
                call(core, given.take().expect(ONCE), &vouched).map(Some)
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
            for fit in std::mem::take(&mut vouched.open) {
                let answer = fit.schema.fit(&fit.parameters);
                vouched.checked.push((fit, answer));
            }
        }
    }
}

impl Core {
    /// What a run will have as parameters, if its deployment enforces a schema.
    fn fit_of(&self, new: &NewRun) -> Option<Fit> {
        if !self.enforces {
            return None;
        }
        let (_, deployment) = self.target_rows(&new.target).ok()?;
        let work = self.deployments[deployment? as usize].as_ref()?;
        let schema = work.schema.clone()?;
        let mut parameters = (*work.template.parameters).clone();
        parameters.extend(
            new.parameters
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        Some(Fit { schema, parameters })
    }

    /// Asks for what a new run needs vouched.
    pub(super) fn asks_of_run(&self, new: &NewRun, vouched: &mut Vouched) -> Result<(), Error> {
        if self.enforces {
            // What is too deep cannot be copied.
            check_depth(&new.parameters)?;
            if let Some(fit) = self.fit_of(new) {
                vouched.knows(fit);
            }
        }
        Ok(())
    }

    /// Whether the parameters of a run fit.
    pub(super) fn check_run(&self, new: &NewRun, vouched: &Vouched) -> Result<(), InvalidValue> {
        self.fit_of(new).map_or(Ok(()), |fit| vouched.answer(&fit))
    }

    /// Checks the schema and parameters of a deployment that is made, or made again over what is held.
    pub(super) fn asks_of_new(&self, new: &NewDeployment, vouched: &mut Vouched) -> Result<(), Error> {
        check_depth(&new.parameters)?;
        let held = self.catalog.flow_names.get(&new.flow).and_then(|&flow| {
            let row = self.catalog.deployment_names.get(&(flow, new.name.clone()))?;
            Some(&self.catalog.deployments.get(*row)?.data)
        });
        let enforce = new.enforce.or(held.map(|held| held.enforce_parameter_schema));
        let schema = (new.schema.as_ref()).or_else(|| held?.parameter_openapi_schema.as_ref());
        asks(enforce.unwrap_or(true), schema, &new.parameters, vouched)
    }

    /// The same for a change.
    pub(super) fn asks_of_patch(
        &self,
        id: DeploymentId,
        patch: &DeploymentPatch,
        vouched: &mut Vouched,
    ) -> Result<(), Error> {
        if patch.enforce.is_none() && patch.schema.is_none() && patch.parameters.is_none() {
            return Ok(());
        }
        let row = self.deployment_row(id)?;
        let held = &self.catalog.deployments.get(row).expect("just found").data;
        let parameters = patch.parameters.as_ref().unwrap_or(&held.parameters);
        check_depth(parameters)?;
        asks(
            patch.enforce.unwrap_or(held.enforce_parameter_schema),
            (patch.schema.as_ref().unwrap_or(&held.parameter_openapi_schema)).as_ref(),
            parameters,
            vouched,
        )
    }
}

/// A deployment's schema, and its own parameters, which need not have all that the schema requires.
fn asks(
    enforce: bool,
    schema: Option<&Object>,
    parameters: &Object,
    vouched: &mut Vouched,
) -> Result<(), Error> {
    let Some(text) = schema else { return Ok(()) };
    check_parameters(text).map_err(|refused| InvalidValue {
        field: "parameter_openapi_schema",
        ..refused
    })?;
    if let Some(schema) = Schema::new(enforce, schema, Required::Ignored) {
        let fit = Fit {
            schema,
            parameters: parameters.clone(),
        };
        vouched.answer(&fit)?;
        vouched.knows(fit);
    }
    Ok(())
}
