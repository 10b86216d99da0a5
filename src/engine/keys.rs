//! Idempotency keys: which run stands for a key.
//!
//! The key itself lies in the body of its run, so what is kept here of each is the number of the run's row and half of a hash: a
//! table that grows moves eight bytes a key and reads no run.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};
use uuid::Uuid;

use crate::catalog::{RunBody, RunRow, Table};
use crate::ids::DeploymentId;

/// An idempotency key is the caller's in its deployment, else in its flow.
pub(crate) fn key_scope(body: &RunBody) -> Uuid {
    body.deployment_id.map_or(body.flow_id.uuid(), DeploymentId::uuid)
}

/// One key.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    row: u32,
}

impl Slot {
    /// The table takes its bits from both ends of a hash.
    const fn spread(hash: u32) -> u64 {
        (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The keys of an engine's runs.
///
/// # Invariants
///
/// * **I1** every slot names the row of a run that has a key, and no two of them the same scope and key;
/// * **I2** a slot's hash is that of its run's scope and key.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    table: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

impl Keys {
    fn hash(&self, scope: Uuid, key: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        scope.hash(&mut hasher);
        hasher.write(key.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is enough of it")]
        let half = hasher.finish() as u32;
        half
    }

    /// The run that stands for a key.
    pub(crate) fn find<'a>(&self, runs: &'a Table<RunRow>, scope: Uuid, key: &str) -> Option<&'a RunRow> {
        let hash = self.hash(scope, key);
        let is = |slot: &Slot| {
            slot.hash == hash
                && runs
                    .get(slot.row)
                    .is_some_and(|run| run.body.key.as_deref() == Some(key) && key_scope(&run.body) == scope)
        };
        let slot = self.table.find(Slot::spread(hash), is)?;
        runs.get(slot.row)
    }

    /// The run of this row stands for its key, if it has one, from now on.
    pub(crate) fn insert(&mut self, runs: &Table<RunRow>, row: u32) {
        let Some(key) = key_of(runs, row) else { return };
        let hash = self.hash(key.0, key.1);
        self.table
            .insert_unique(Slot::spread(hash), Slot { hash, row }, |slot| {
                Slot::spread(slot.hash)
            });
    }

    /// The run of this row stands for its key no more, if it did.
    pub(crate) fn remove(&mut self, runs: &Table<RunRow>, row: u32) {
        let Some(key) = key_of(runs, row) else { return };
        let hash = Slot::spread(self.hash(key.0, key.1));
        if let Ok(slot) = self.table.find_entry(hash, |slot| slot.row == row) {
            slot.remove();
        }
    }

    /// Whether the run of this row stands for its key: loaded records have keys too, which count for nothing.
    pub(crate) fn holds(&self, runs: &Table<RunRow>, row: u32) -> bool {
        key_of(runs, row).is_some_and(|(scope, key)| {
            let hash = Slot::spread(self.hash(scope, key));
            self.table.find(hash, |slot| slot.row == row).is_some()
        })
    }

    /// The rows of all runs that stand for a key, in no order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().map(|slot| slot.row)
    }
}

fn key_of(runs: &Table<RunRow>, row: u32) -> Option<(Uuid, &str)> {
    let body = &runs.get(row)?.body;
    Some((key_scope(body), body.key.as_deref()?))
}
