//! What a worker outside the process may ask to be handed: a look at what would start, as far as it would.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Engine;
use super::core::Core;
use super::error::Error;
use super::read::run_of;
use super::submit::MAX_BATCH;
use crate::model::Run;

impl Engine {
    /// Waiting runs of a pool that its workers may start: those that are due, in claim order, as many as the engine, the pool, its
    /// queues and all limits let in together; then those that are not due yet, by instant, as far as engine, pool and
    /// queues have slots left for them. Nothing of what is paused. At most `n` (1 to [`MAX_BATCH`]) of those whose due instant is
    /// neither before `after` nor past `before`; of these queues, or of all if none is named.
    ///
    /// It claims nothing, so two workers can be offered the same run; [`claim_run`](Self::claim_run) and a change of state into
    /// PENDING let one of them have it. It counts as asking the queues for work. Looks at each set of limits that waits in
    /// the queues, and at what it lists.
    ///
    /// ```
    /// use tenfold::{Engine, NewPool, NewRun};
    ///
    /// let engine = Engine::new();
    /// engine.flow("train")?;
    /// engine.create_pool(NewPool::named("gpu").concurrency_limit(1))?;
    /// for _ in 0..3 {
    ///     engine.submit(NewRun::of("train").work_queue("gpu", "default"))?;
    /// }
    /// assert_eq!(engine.offers("gpu", &[], None, None, 10)?.len(), 1);
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the pool, or a queue that it does not have; [`Error::BatchSize`].
    pub fn offers(
        &self,
        pool: &str,
        queues: &[&str],
        after: Option<DateTime<Utc>>,
        before: Option<DateTime<Utc>>,
        n: usize,
    ) -> Result<Vec<Run>, Error> {
        if !(1..=MAX_BATCH).contains(&n) {
            return Err(Error::BatchSize {
                size: n,
                most: MAX_BATCH,
            });
        }
        self.call(|core| {
            let pool_row = core.pool_row(pool)?;
            let mut wanted = Vec::with_capacity(queues.len());
            for queue in queues {
                wanted.push(core.queue_row(pool, queue)?);
            }
            let held = core.catalog.pools.get(pool_row).expect("just found");
            let mut all = held.queues.clone();
            all.retain(|queue| wanted.is_empty() || wanted.contains(queue));
            let at = core.wall;
            for &queue in &all {
                core.polled.poll_queue(queue, at);
            }
            let window = (
                after.map_or(i64::MIN, |at| at.timestamp_micros()),
                before.map_or(i64::MAX, |at| at.timestamp_micros()),
            );
            Ok(core.offers(pool_row, &all, window, n))
        })
    }
}

impl Core {
    fn offers(&self, pool: u32, queues: &[u32], (after, before): (i64, i64), n: usize) -> Vec<Run> {
        let data = &self.catalog.pools.get(pool).expect("just found").data;
        if data.is_paused || before < after {
            return Vec::new();
        }
        let room = |limit: Option<u32>, held: u32| {
            limit.map_or(usize::MAX, |limit| limit.saturating_sub(held) as usize)
        };
        let mut most = room(self.settings.limit, self.held)
            .min(room(data.concurrency_limit, self.pools[pool as usize].held))
            .min(n);
        let (mut rows, mut later, mut rooms) = (Vec::new(), Vec::new(), BTreeMap::new());
        for &queue in queues {
            let data = &self
                .catalog
                .queues
                .get(queue)
                .expect("a pool's queues exist")
                .data;
            if data.is_paused {
                continue;
            }
            let work = &self.queues[queue as usize];
            let left = room(data.concurrency_limit, work.held);
            let due = self.ready.startable(queue, &mut rooms);
            let due = due.filter(|(head, _)| (after..=before).contains(&head.line.due));
            let before_it = rows.len();
            rows.extend(due.map(|(_, row)| row).take(left.min(most)));
            let taken = rows.len() - before_it;
            most -= taken;
            let window = (after, 0, 0)..=(before, u64::MAX, u32::MAX);
            let sets = [&work.later, &work.retrying].map(|set| set.range(window.clone()).take(n));
            let mut waiting: Vec<(i64, u64, u32)> = sets.into_iter().flatten().copied().collect();
            waiting.sort_unstable();
            later.extend(waiting.into_iter().take(left - taken));
        }
        later.sort_unstable();
        rows.extend(later.into_iter().map(|(_, _, row)| row).take(most));
        rows.into_iter().map(|row| run_of(self.run(row))).collect()
    }
}
