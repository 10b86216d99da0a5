//! What people may change of a run that is there: how it is called and found, never what it executes.

use std::sync::Arc;

use super::Engine;
use super::core::Core;
use super::error::Error;
use super::submit::check_labels;
use crate::ids::RunId;
use crate::model::{InvalidValue, MAX_NAME, RunPatch, check_depth, check_tags};

impl Engine {
    /// Changes name, tags or labels of a run, wherever it is. All of the patch, or nothing.
    ///
    /// ```
    /// use tenfold::model::RunPatch;
    /// use tenfold::{Engine, NewRun};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let run = engine.submit(NewRun::of("mail").tag("test"))?.id;
    /// engine.update_run(run, RunPatch::new().name("monday").tags(["news"]))?;
    /// let held = engine.run(run)?;
    /// assert_eq!((&*held.name, &*held.tags[0]), ("monday", "news"));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Invalid`] for a name that is empty or long, and tags and labels that break their rules.
    pub fn update_run(&self, run: RunId, patch: RunPatch) -> Result<u64, Error> {
        self.call(|core| core.update_run(run, patch))
    }
}

impl Core {
    fn update_run(&mut self, id: RunId, patch: RunPatch) -> Result<u64, Error> {
        let row = self.find_run(id)?;
        if let Some(name) = patch.name.as_ref()
            && (name.is_empty() || name.len() > MAX_NAME)
        {
            return Err(InvalidValue::new("name", name, "give it 1 to 1,000 bytes").into());
        }
        patch.tags.as_deref().map_or(Ok(()), check_tags)?;
        check_depth(&patch.labels)?;
        let mut labels = (*self.run(row).body.labels).clone();
        let labelled = !patch.labels.is_empty();
        labels.extend(patch.labels);
        check_labels(&labels)?;
        // Nothing below fails.
        let at = self.wall;
        let tags = patch.tags.map(|tags| self.tag_sets.share(&tags));
        let run = self.run_mut(row);
        run.updated = at;
        if let Some(name) = patch.name {
            run.name = name;
        }
        if tags.is_some() || labelled {
            // Runs of one deployment share a body until one says something of its own.
            let body = Arc::make_mut(&mut run.body);
            if let Some(tags) = tags {
                body.tags = tags;
            }
            if labelled {
                body.labels = Arc::new(labels);
            }
        }
        Ok(self.changed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NewDeployment, Object};
    use crate::priority::Priority;

    #[test]
    fn a_run_is_renamed_alone_and_a_wrong_patch_changes_nothing() {
        let engine = Engine::new();
        engine.deploy(NewDeployment::new("f", "d").tag("etl")).unwrap();
        let runs = ["f/d", "f/d"].map(|target| engine.submit(target).unwrap().id);
        let before = runs.map(|run| engine.run(run).unwrap());
        let label = |value: serde_json::Value| Object::from_iter([("team".to_owned(), value)]);
        let patch = RunPatch::new()
            .name("x")
            .tags(["a", "b"])
            .labels(label("red".into()));
        engine.update_run(runs[0], patch).unwrap();
        let held = engine.run(runs[0]).unwrap();
        assert_eq!((&*held.name, held.tags.len()), ("x", 2));
        assert_eq!(
            held.labels["team"], "red",
            "beside those of its flow and deployment"
        );
        assert_eq!(engine.run(runs[1]).unwrap(), before[1]);
        let wrong = [
            RunPatch::new().name(""),
            RunPatch::new().name("y").tags(["t".repeat(2_000)]),
            RunPatch::new().name("y").labels(label(serde_json::json!([]))),
        ];
        for patch in wrong {
            assert!(matches!(
                engine.update_run(runs[0], patch),
                Err(Error::Invalid(_))
            ));
        }
        assert_eq!(engine.run(runs[0]).unwrap(), held);
        // It is where it was, and still the first.
        engine.set_priority(runs[0], Priority::MAX).unwrap();
        let claim = engine.claim(&crate::engine::Scope::all()).unwrap().unwrap();
        assert_eq!((claim.run(), claim.name()), (runs[0], "x"));
        engine.check_invariants();
    }
}
