//! Names of single states, for hosts that speak of states by id.

use std::hash::{DefaultHasher, Hash, Hasher};

use uuid::Uuid;

use super::Engine;
use super::error::Error;
use super::ids::row_of;
use crate::ids::{RunId, StateId};
use crate::model::State;

impl StateId {
    /// The id of a state of a run. It is made from both and kept nowhere: version 8, with the milliseconds at which the state was
    /// entered first and the run's row last. The same state has the same id in every engine of this version of the crate.
    #[must_use]
    pub fn of(run: RunId, state: &State) -> Self {
        let mut hasher = DefaultHasher::new();
        (run, state.kind, &*state.name, state.timestamp).hash(&mut hasher);
        let hash = hasher.finish();
        let millis = u64::try_from(state.timestamp.timestamp_millis()).unwrap_or(0);
        let (counter, spread) = (hash & 0xfff, hash >> 34);
        let low = 0b10 << 62 | spread << 32 | u64::from(row_of(run));
        let high = (millis & 0xffff_ffff_ffff) << 16 | 0x8 << 12 | counter;
        Self::from_uuid(Uuid::from_u64_pair(high, low))
    }
}

impl Engine {
    /// The state of that id, and whose it is. Found while [`states`](Self::states) would list it, for runs that this engine
    /// made.
    ///
    /// ```
    /// use tenfold::Engine;
    /// use tenfold::ids::StateId;
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// let run = engine.submit("mail")?.id;
    /// let [state] = &engine.states(run)?[..] else { panic!("it has one") };
    /// assert_eq!(engine.state(StateId::of(run, state))?, (run, state.clone()));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn state(&self, id: StateId) -> Result<(RunId, State), Error> {
        self.call(|core| {
            let row = row_of(RunId::from_uuid(id.uuid()));
            let run = core.catalog.runs.get(row).map(|held| held.id);
            let states = run.map_or(Vec::new(), |_| core.states_of(row));
            let found = run.and_then(|run| {
                let state = states.into_iter().find(|state| StateId::of(run, state) == id)?;
                Some((run, state))
            });
            found.ok_or_else(|| Error::NotFound {
                kind: "state",
                name: id.to_string(),
                hint: "it was never entered here, or is not kept any more",
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NewState, StateType};

    #[test]
    fn every_state_of_a_run_has_an_id_of_its_own_that_leads_back_to_it() {
        let engine = Engine::new();
        engine.flow("f").unwrap();
        let runs = [engine.submit("f").unwrap().id, engine.submit("f").unwrap().id];
        for kind in [StateType::Pending, StateType::Running, StateType::Completed] {
            for run in runs {
                engine.set_state(run, NewState::of(kind)).unwrap();
            }
        }
        let mut seen = std::collections::BTreeMap::new();
        for run in runs {
            for state in engine.states(run).unwrap() {
                let id = StateId::of(run, &state);
                assert_eq!(engine.state(id).unwrap(), (run, state));
                assert!(seen.insert(id, run).is_none(), "two states have one id");
            }
        }
        assert_eq!(seen.len(), 8);
        for stranger in [Uuid::nil(), Uuid::max(), runs[0].uuid()] {
            assert!(engine.state(StateId::from_uuid(stranger)).is_err());
        }
        engine.delete_run(runs[0]).unwrap();
        for (id, run) in seen {
            assert_eq!(engine.state(id).is_ok(), run == runs[1]);
        }
    }
}
