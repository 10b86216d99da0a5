//! How many waiting runs are blocked: need more of some limit than it has room for.
//!
//! A run under several limits is blocked once, however many of them refuse it. So that a limit which fills or empties need not
//! look at every class that waits for it, the classes form *groups*: the needs of a class, those that most classes share
//! first, are a path in a tree, and classes with the same first needs share the first steps. Runs are counted at the last step of
//! their path, and each step passes on to the one before it as many as come to it, unless its own gate refuses them: then they
//! are blocked and go no further. A limit that fills or empties turns its own steps alone: one for a limit that nobody names
//! beside others, and else one for each set of *wider* limits that is named beside it. A hundred thousand tenants with a limit
//! each under a common one are a hundred thousand steps of the tenants, and one of the common limit.
//!
//! The order of the needs is that of the moment at which a class was made: which limit most share is a matter of speed, not of
//! what is counted.

use std::ops::Bound;

use hashbrown::HashMap;

use super::gate::moved;
use super::needs::{Need, Needs};
use super::{NIL, Ready};

/// One need on a path.
#[derive(Debug)]
struct Step {
    before: u32,
    need: Need,
    /// The runs that come to it: of the classes that end here, and what the steps behind it pass on.
    runs: usize,
    /// Classes that end here, and steps that are behind it.
    users: usize,
}

/// The steps of all paths.
#[derive(Debug, Default)]
pub(super) struct Groups {
    steps: Vec<Step>,
    vacant: Vec<u32>,
    by_need: HashMap<(u32, Need), u32>,
}

impl Ready {
    /// The last step of the path of a new class.
    pub(super) fn enter_group(&mut self, needs: &Needs) -> u32 {
        let mut path = needs.to_vec();
        path.sort_by_key(|need| (std::cmp::Reverse(self.gate(need.gate).members), need.gate));
        let mut last = NIL;
        for need in path {
            let groups = &mut self.groups;
            if let Some(&step) = groups.by_need.get(&(last, need)) {
                last = step;
                continue;
            }
            if last != NIL {
                groups.steps[last as usize].users += 1;
            }
            let made = Step {
                before: last,
                need,
                runs: 0,
                users: 0,
            };
            let step = if let Some(step) = groups.vacant.pop() {
                groups.steps[step as usize] = made;
                step
            } else {
                groups.steps.push(made);
                u32::try_from(groups.steps.len() - 1).expect("there are fewer steps than needs of classes")
            };
            groups.by_need.insert((last, need), step);
            self.gate_mut(need.gate).groups.insert((need.weight, step));
            last = step;
        }
        if last != NIL {
            self.groups.steps[last as usize].users += 1;
        }
        last
    }

    /// A class without runs is gone, and the steps that were its alone.
    pub(super) fn leave_group(&mut self, mut last: u32) {
        while last != NIL {
            let step = &mut self.groups.steps[last as usize];
            step.users -= 1;
            if 0 < step.users {
                return;
            }
            let (before, need) = (step.before, step.need);
            self.groups.by_need.remove(&(before, need));
            self.groups.vacant.push(last);
            self.gate_mut(need.gate).groups.remove(&(need.weight, last));
            last = before;
        }
    }

    /// Runs of a class come or go.
    pub(super) fn count_group(&mut self, mut last: u32, runs: usize, more: bool) {
        while last != NIL {
            let step = &mut self.groups.steps[last as usize];
            step.runs = moved(step.runs, runs, more);
            let (before, need) = (step.before, step.need);
            if self.gate(need.gate).room < need.weight {
                self.blocked = moved(self.blocked, runs, more);
                return;
            }
            last = before;
        }
    }

    /// A gate's room is another than `before`: the steps that it has begun to refuse, or ceased to, turn.
    pub(super) fn turn_groups(&mut self, gate: u32, before: u32) {
        let held = self.gate(gate);
        let after = held.room;
        let (low, high) = (before.min(after), before.max(after));
        // No run that waits needs so many slots: nothing turns.
        let first = held.standing.partition_point(|&(weight, _)| weight <= low);
        if held.standing.get(first).is_none_or(|&(weight, _)| high < weight) {
            return;
        }
        // Out of the gate for the while: what a step passes on never comes to a step of the same gate.
        let steps = std::mem::take(&mut self.gate_mut(gate).groups);
        if let (1, Some(&(weight, step))) = (steps.len(), steps.first()) {
            if low < weight && weight <= high {
                self.turn(step, after < before);
            }
        } else {
            for &(_, step) in steps.range((Bound::Excluded((low, NIL)), Bound::Included((high, NIL)))) {
                self.turn(step, after < before);
            }
        }
        let held = self.gate_mut(gate);
        held.groups = steps;
        held.refused = held.count_refused();
        self.list_stopping(gate);
    }

    fn turn(&mut self, step: u32, refuses: bool) {
        let Step { before, runs, .. } = self.groups.steps[step as usize];
        if runs == 0 {
            return;
        }
        self.blocked = moved(self.blocked, runs, refuses);
        self.count_group(before, runs, !refuses);
    }

    /// Lists a gate among those that refuse somebody, or no more.
    pub(super) fn list_stopping(&mut self, gate: u32) {
        let next = u32::try_from(self.stopping.len()).expect("there are fewer gates than limits");
        let held = self.gate_mut(gate);
        let (refuses, at) = (0 < held.refused, held.listed);
        if refuses && at == NIL {
            held.listed = next;
            self.stopping.push(gate);
        } else if !refuses && at != NIL {
            held.listed = NIL;
            self.stopping.swap_remove(at as usize);
            if let Some(&other) = self.stopping.get(at as usize) {
                self.gate_mut(other).listed = at;
            }
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn check_groups(&self) {
        let mut runs = vec![0; self.groups.steps.len()];
        let mut users = vec![0; self.groups.steps.len()];
        for class in self.classes.iter().flatten() {
            if class.group != NIL {
                users[class.group as usize] += 1;
            }
            if self.queue(class.queue).paused {
                continue;
            }
            let (mut at, mut path) = (class.group, Vec::new());
            let mut passes = true;
            while at != NIL {
                let step = &self.groups.steps[at as usize];
                path.push(step.need);
                if passes {
                    runs[at as usize] += class.lanes.len();
                }
                passes &= step.need.weight <= self.gate(step.need.gate).room;
                at = step.before;
            }
            path.sort_unstable();
            assert_eq!(path, class.needs.to_vec(), "I4 broken: the path of a class");
        }
        for (&(before, need), &step) in &self.groups.by_need {
            let held = &self.groups.steps[step as usize];
            assert_eq!((held.before, held.need), (before, need), "I4 broken: a step");
            assert!(
                self.gate(need.gate).groups.contains(&(need.weight, step)),
                "I4 broken: a gate's steps"
            );
            if before != NIL {
                users[before as usize] += 1;
            }
            assert_eq!(
                held.runs, runs[step as usize],
                "I4 broken: the runs that come to a step"
            );
        }
        for &step in self.groups.by_need.values() {
            assert_eq!(
                self.groups.steps[step as usize].users, users[step as usize],
                "I4 broken: users"
            );
        }
        let steps: usize = self.gates.iter().flatten().map(|gate| gate.groups.len()).sum();
        assert_eq!(steps, self.groups.by_need.len(), "I4 broken: a step that is gone");
    }
}
